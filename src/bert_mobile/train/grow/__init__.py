"""Grow a wider, deeper BERT with a vocabulary of its own out of a small trained one.

    bert-mobile grow SOURCE --variant mobile --tokenizer DIR --corpus DIR --out DIR

What bert2BERT (Chen et al. 2021, arXiv:2110.07143) does by copying neurons is done here by padding
and least squares, since widths and heads need not divide:

- The first H columns of everything are the source's; new columns are read with small random weights
  and written with zeros, so they change nothing yet and still receive gradients. A LayerNorm over
  zero-padded input sees a smaller deviation: its gain shrinks by sqrt(H source / H target).
- A target with fewer heads than the source keeps the heads that move the output most; each of the
  others lends its values to the kept head whose attention looks most like its own. Queries are
  scaled so that scores keep their size in the wider heads (`layers`).
- What this loses is won back layer by layer: the matrices that write to the residual stream are
  corrected by ridge regression, on real text, towards the source's hidden states.
- Layers beyond the source's begin as the identity: copies of the layer below that write nothing,
  with LayerNorms fitted to undo themselves, placed where that does the least harm.
- A piece of the new vocabulary takes the row of the same piece in the old one, or the mean of the
  pieces it splits into (`vocabulary`).
- The heads that the source has come along: pooler, masked tokens, next sentence (`heads`); those it
  lacks begin fresh.
"""

from bert_mobile.train.grow.growth import GrowReport, grow

__all__ = ["GrowReport", "grow"]
