package com.example.bertmobile

import kotlin.math.exp

/** A word for a gap, and its probability. */
data class Proposal(val word: String, val score: Float)

/**
 * Fills the gap of a text. Plain Kotlin too; `network` is what runs the model.
 *
 * T tokens, V vocabulary.
 *
 * @param limit The most tokens that the model reads; fewer take less time and memory.
 * @param network From ids (T) and the place of the gap to the logits (V) there.
 */
class FillMask(
    private val tokenizer: WordPiece,
    private val limit: Int = 512,
    private val network: (ids: LongArray, place: Int) -> FloatArray,
) {
    /** Returns the best words for the first `[MASK]` of a text, the most probable first. */
    fun propose(text: String, count: Int = 5): List<Proposal> {
        val pieces = tokenizer.encode(text)
        require(tokenizer.mask in pieces) { "the text has no [MASK]" }
        val ids = tokenizer.frame(around(pieces, limit - 2))
        val scores = softmax(network(ids.map(Int::toLong).toLongArray(), ids.indexOf(tokenizer.mask)))
        return scores.indices.sortedByDescending { scores[it] }.take(count)
            .map { Proposal(tokenizer.word(it), scores[it]) }
    }

    /** At most `room` pieces, the gaps in their middle where the text is longer. */
    private fun around(pieces: List<Int>, room: Int): List<Int> {
        val first = pieces.indexOf(tokenizer.mask)
        val last = pieces.lastIndexOf(tokenizer.mask)
        if (last < room) return pieces.take(room)
        val spare = maxOf(0, room - (last - first + 1))
        val start = minOf(maxOf(0, first - spare / 2), pieces.size - room)
        return pieces.subList(start, start + room)
    }

    private fun softmax(logits: FloatArray): FloatArray {
        var top = Float.NEGATIVE_INFINITY
        for (logit in logits) top = maxOf(top, logit)
        val powers = FloatArray(logits.size) { exp(logits[it] - top) }
        var total = 0.0
        for (power in powers) total += power
        return FloatArray(powers.size) { (powers[it] / total).toFloat() }
    }
}
