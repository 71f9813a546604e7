package com.example.bertmobile

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import java.util.concurrent.Executors

/** One field, one button, and the words that the model proposes. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor() // the model never blocks the screen
    private val fillMask by lazy { load() }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val text = EditText(this).apply { setText("The capital of France is [MASK].") }
        val button = Button(this).apply { setText("Fill") }
        val answer = TextView(this)
        setContentView(
            LinearLayout(this).apply {
                orientation = LinearLayout.VERTICAL
                fitsSystemWindows = true
                listOf(text, button, answer).forEach { addView(it) }
            },
        )
        button.setOnClickListener {
            val asked = text.text.toString()
            worker.execute {
                val shown = runCatching { shown(asked) }.getOrElse { it.message }
                runOnUiThread { answer.text = shown }
            }
        }
    }

    override fun onDestroy() {
        worker.shutdown()
        super.onDestroy()
    }

    private fun load(): FillMask {
        val pieces = assets.open("vocab.txt").bufferedReader().use { it.readLines() }
        val network = OnnxNetwork(assets.open("model_quantized.onnx").use { it.readBytes() })
        return FillMask(WordPiece(pieces), network = network::logits)
    }

    private fun shown(text: String): String =
        fillMask.propose(text).joinToString("\n") { "%6.2f %%  %s".format(100 * it.score, it.word) }
}
