// What the Android example's tokenizer and gap filler make of their standard input.
//
//   java -jar vectors.jar VOCABULARY           a text, or two between a tab, in Base64 a line → ids
//   java -jar vectors.jar VOCABULARY LOGITS    the same, LOGITS (float32) being the network's answer
//                                              → place, ids, and five words with their scores
import com.example.bertmobile.FillMask
import com.example.bertmobile.WordPiece
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64

fun main(arguments: Array<String>) {
    val tokenizer = WordPiece(File(arguments[0]).readLines())
    for (line in generateSequence(::readLine)) {
        val texts = line.split("\t").map { String(Base64.getDecoder().decode(it), Charsets.UTF_8) }
        if (arguments.size == 1) {
            val pieces = texts.map(tokenizer::encode)
            println(tokenizer.frame(pieces[0], pieces.getOrNull(1)).joinToString(" "))
        } else {
            fill(tokenizer, File(arguments[1]), texts[0])
        }
    }
}

fun fill(tokenizer: WordPiece, file: File, text: String) {
    val floats = ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
    val logits = FloatArray(floats.remaining()).also { floats.get(it) }
    val fillMask = FillMask(tokenizer) { ids, place ->
        println("$place ${ids.joinToString(" ")}")
        logits
    }
    fillMask.propose(text).forEach { println("${it.score} ${it.word}") }
}
