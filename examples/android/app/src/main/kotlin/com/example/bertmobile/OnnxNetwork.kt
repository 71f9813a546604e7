package com.example.bertmobile

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.nio.LongBuffer

/**
 * A model file in ONNX Runtime.
 *
 * T tokens, V vocabulary. The file's optional input `logit_positions`, which would have the logits
 * computed at one place alone, is not among the inputs that the Java interface accepts; so all
 * T · V of them are computed, 4 bytes each.
 *
 * @param model The bytes of onnx/model_quantized.onnx.
 */
class OnnxNetwork(model: ByteArray) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = environment.createSession(model, OrtSession.SessionOptions())

    /** Returns the logits (V) at one place of a sequence of ids (T). */
    fun logits(ids: LongArray, place: Int): FloatArray {
        val rows = mapOf(
            "input_ids" to ids,
            "attention_mask" to LongArray(ids.size) { 1 },
            "token_type_ids" to LongArray(ids.size),
        )
        val shape = longArrayOf(1, ids.size.toLong())
        val feed = rows.mapValues { (_, row) ->
            OnnxTensor.createTensor(environment, LongBuffer.wrap(row), shape)
        }
        try {
            session.run(feed, setOf("logits")).use { result ->
                val all = (result.get(0) as OnnxTensor).floatBuffer // 1 T V
                val row = FloatArray(all.remaining() / ids.size)
                all.position(place * row.size)
                all.get(row)
                return row
            }
        } finally {
            feed.values.forEach(OnnxTensor::close)
        }
    }

    override fun close() = session.close()
}
