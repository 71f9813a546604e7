package com.example.bertmobile

import java.text.Normalizer

/**
 * BERT's uncased WordPiece (Devlin et al. 2018), equal to the library `tokenizers`. Plain Kotlin for
 * the JVM: nothing of Android, no library.
 *
 * Character classes are the platform's. Marks and punctuation that Unicode got after its version 8
 * are none to `tokenizers`; texts in the few scripts that have such may be cut otherwise here.
 *
 * @param pieces The lines of vocab.txt, in their order.
 */
class WordPiece(private val pieces: List<String>) {
    private val ids = HashMap<String, Int>(2 * pieces.size)

    init {
        pieces.forEachIndexed { id, piece -> ids[piece] = id }
    }

    val cls = id("[CLS]")
    val sep = id("[SEP]")
    val mask = id("[MASK]")
    private val unknown = id("[UNK]")

    /** Cuts a text into pieces, unframed and however long. */
    fun encode(text: String): List<Int> {
        val found = ArrayList<Int>()
        var start = 0
        for (match in SPECIAL.findAll(text)) {
            encodePlain(text.substring(start, match.range.first), found)
            found.add(id(match.value))
            start = match.range.last + 1
        }
        encodePlain(text.substring(start), found)
        return found
    }

    /** Puts `[CLS]` and `[SEP]` around the pieces of one text or two. */
    fun frame(first: List<Int>, second: List<Int>? = null): List<Int> {
        val one = listOf(cls) + first + sep
        return if (second == null) one else one + second + sep
    }

    /** Returns the text of a piece. */
    fun word(id: Int): String = pieces[id]

    private fun id(piece: String): Int =
        requireNotNull(ids[piece]) { "the vocabulary lacks $piece" }

    private fun encodePlain(text: String, found: MutableList<Int>) {
        for (word in words(folded(apart(text)))) addPieces(word, found)
    }

    /** Greedy longest match first; a word with a part that no piece covers is one `[UNK]`. */
    private fun addPieces(word: String, found: MutableList<Int>) {
        val before = found.size
        var start = if (word.codePointCount(0, word.length) > LONGEST_WORD) -1 else 0
        while (start in word.indices) {
            val lead = if (start == 0) "" else "##"
            val end = (word.length downTo start + 1).firstOrNull {
                ids.containsKey(lead + word.substring(start, it))
            }
            if (end != null) found.add(ids.getValue(lead + word.substring(start, end)))
            start = end ?: -1
        }
        if (start >= 0) return
        while (found.size > before) found.removeAt(found.size - 1)
        found.add(unknown)
    }

    private companion object {
        const val LONGEST_WORD = 100 // characters
        val SPECIAL = Regex("\\[(?:PAD|UNK|CLS|SEP|MASK)\\]")

        /** Without controls, every kind of space as one, and Chinese characters set apart. */
        fun apart(text: String): String = buildString {
            for (code in codes(text)) {
                when {
                    isSpace(code) -> append(' ')
                    isRemoved(code) -> Unit
                    isChinese(code) -> append(' ').appendCodePoint(code).append(' ')
                    else -> appendCodePoint(code)
                }
            }
        }

        /** Without accents, in lower case; character by character, so never by the language. */
        fun folded(text: String): String = buildString {
            for (code in codes(Normalizer.normalize(text, Normalizer.Form.NFD))) {
                if (Character.getType(code) == Character.NON_SPACING_MARK.toInt()) continue
                appendCodePoint(Character.toLowerCase(code))
            }
        }

        /** Split at spaces and around every punctuation mark. */
        fun words(text: String): List<String> {
            val found = ArrayList<String>()
            val word = StringBuilder()
            for (code in codes(text) + ' '.code) {
                val ends = code == ' '.code || isPunctuation(code)
                if (ends && word.isNotEmpty()) {
                    found.add(word.toString())
                    word.setLength(0)
                }
                if (!ends) word.appendCodePoint(code)
                if (ends && code != ' '.code) found.add(String(Character.toChars(code)))
            }
            return found
        }

        fun codes(text: String): List<Int> {
            val found = ArrayList<Int>(text.length)
            var place = 0
            while (place < text.length) {
                found.add(text.codePointAt(place))
                place += Character.charCount(found.last())
            }
            return found
        }

        fun isSpace(code: Int) = code == 9 || code == 10 || code == 13 || Character.isSpaceChar(code)

        fun isRemoved(code: Int) = code == 0xFFFD || when (Character.getType(code).toByte()) {
            Character.CONTROL, Character.FORMAT, Character.PRIVATE_USE, Character.SURROGATE -> true
            else -> false
        }

        fun isPunctuation(code: Int) = when (Character.getType(code).toByte()) {
            Character.CONNECTOR_PUNCTUATION, Character.DASH_PUNCTUATION,
            Character.START_PUNCTUATION, Character.END_PUNCTUATION,
            Character.INITIAL_QUOTE_PUNCTUATION, Character.FINAL_QUOTE_PUNCTUATION,
            Character.OTHER_PUNCTUATION -> true
            // Signs such as $ + < ^ ` | count too, in ASCII alone.
            else -> code in 33..47 || code in 58..64 || code in 91..96 || code in 123..126
        }

        fun isChinese(code: Int) =
            code in 0x4E00..0x9FFF || code in 0x3400..0x4DBF || code in 0x20000..0x2A6DF ||
                code in 0x2A700..0x2B81F || code in 0x2B920..0x2CEAF || code in 0xF900..0xFAFF ||
                code in 0x2F800..0x2FA1F
    }
}
