#!/usr/bin/env bash
# recipes/default.sh COMMAND …     the default model on a borrowed machine; default.md says when which
#
#   cut FOLDER PARTS BYTES [TAR OPTION…]
#                            pack a folder into numbered parts of at most BYTES, with their SHA-256
#   join PARTS FOLDER        check every part, then unpack; FOLDER stays as it was where one is bad
#   piece [WEIGHTS]          train for MINUTES: from the last checkpoint in RUN, else on from the
#                            WEIGHTS of an earlier piece, else from where the recipe starts
#   hand-over PARTS          the weights so far as bfloat16, in parts of 16 MB, with record and curve
#   rehearse CORPUS          all of it with the tiny recipe, in a temporary folder: parts carried over
#                            one by one, a piece killed, parts lost and damaged, going on elsewhere
#
# Settings, by environment: RECIPE, CORPUS, RUN, MINUTES, TOKENS, PYTHON.
set -euo pipefail

CODE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RECIPE=${RECIPE:-$CODE/recipes/default.toml}
CORPUS=${CORPUS:-runs/corpus}
RUN=${RUN:-runs/default}
MINUTES=${MINUTES:-8.5}
TOKENS=${TOKENS:-}             # in place of the recipe's budget
PYTHON=${PYTHON:-python3}
PART_BYTES=${PART_BYTES:-16000000}
export PYTHONPATH=$CODE/src${PYTHONPATH:+:$PYTHONPATH}   # where nothing can be installed

fail() {
    echo "error: $1" >&2
    echo "hint: $2" >&2
    exit 1
}

bert_mobile() { "$PYTHON" -m bert_mobile "$@"; }

cut_up() {
    local folder=$1 parts=$2 bytes=$3 options=("${@:4}")
    [[ -d $folder ]] || fail "$folder is no folder" "name the folder that is to travel"
    [[ ! -e $parts ]] || fail "$parts exists already" "remove it, or name another folder"
    rm -rf "$parts.part" && mkdir -p "$parts.part"
    tar -C "$folder" ${options[@]+"${options[@]}"} -cz . | split -b "$bytes" -d -a 3 - "$parts.part/part-"
    (cd "$parts.part" && sha256sum part-* >SHA256SUMS)
    mv "$parts.part" "$parts"
    echo "$parts: $(wc -l <"$parts/SHA256SUMS") parts"
}

join_up() {
    local parts=$1 folder=$2 listed found
    [[ -f $parts/SHA256SUMS ]] || fail "$parts has no SHA256SUMS" "bring the list along with the parts"
    (cd "$parts" && sha256sum --check --strict --quiet SHA256SUMS) ||
        fail "a part in $parts is missing or damaged" "bring that part again; nothing was changed"
    listed=$(wc -l <"$parts/SHA256SUMS") found=$(find "$parts" -name 'part-*' | wc -l)
    [[ $listed == "$found" ]] ||
        fail "$parts holds $found parts, SHA256SUMS lists $listed" "keep the parts of one folder apart"
    rm -rf "$folder.part" && mkdir -p "$folder.part"
    cat "$parts"/part-* | tar -C "$folder.part" -xz --no-same-owner
    rm -rf "$folder.old"
    [[ ! -e $folder ]] || mv "$folder" "$folder.old"
    mv "$folder.part" "$folder" && rm -rf "$folder.old"
    echo "$folder: joined from $found parts"
}

piece() {
    local from=auto
    if [[ -n ${1:-} ]] && ! compgen -G "$RUN/checkpoints/step-*" >/dev/null; then
        from=$1
    fi
    bert_mobile pretrain "$RECIPE" --corpus "$CORPUS" --out "$RUN" --resume "$from" \
        --minutes "$MINUTES" ${TOKENS:+--tokens "$TOKENS"}
}

hand_over() {
    local parts=$1
    bert_mobile convert "$RUN" --bfloat16 --out "$RUN-bfloat16"
    rm -rf "$parts"
    cut_up "$RUN-bfloat16" "$parts" "$PART_BYTES"
    cp "$RUN/metrics.jsonl" "$parts/"
    [[ ! -f $RUN/curve.png ]] || cp "$RUN/curve.png" "$parts/"
}

# Everything that default.md says, as it will be typed, at a size that any processor can pay.
rehearse() {
    local corpus desk part RECIPE=$CODE/recipes/tiny.toml PART_BYTES=1000000 TOKENS=
    corpus=$(realpath "$1") desk=$(mktemp -d)
    trap "rm -rf '$desk'" EXIT
    cd "$desk" && mkdir -p home there/corpus-parts elsewhere

    say "the corpus travels in parts, one a step"
    cut_up "$corpus" home/corpus-parts 100000 --exclude '*.jsonl.zst'
    cp home/corpus-parts/SHA256SUMS there/corpus-parts/
    must_fail join_up there/corpus-parts there/corpus
    for part in home/corpus-parts/part-*; do cp "$part" there/corpus-parts/; done
    join_up there/corpus-parts there/corpus

    say "a piece is killed, the next goes on from its last checkpoint"
    CORPUS=there/corpus RUN=there/run MINUTES=5
    piece &
    until compgen -G "$RUN/checkpoints/step-*" >/dev/null || ! kill -0 $! 2>/dev/null; do
        sleep 0.05
    done
    pkill -KILL -P $! || true
    wait $! 2>/dev/null || true
    MINUTES=0.01
    piece | tee resumed
    grep -q "resumed from step" resumed

    say "the weights come back in parts; a lost and a damaged one are noticed"
    hand_over there/weights-parts
    mkdir home/weights && echo "the last good state" >home/weights/state
    mv there/weights-parts/part-000 part-000
    must_fail join_up there/weights-parts home/weights
    sed 's/./x/' part-000 >there/weights-parts/part-000
    must_fail join_up there/weights-parts home/weights
    [[ -f home/weights/state ]]
    mv part-000 there/weights-parts/part-000
    join_up there/weights-parts home/weights

    say "the run goes on elsewhere from the weights alone, not with another recipe or corpus"
    RUN=elsewhere/run
    TOKENS=1000 must_fail piece home/weights
    cp -r there/corpus other-corpus
    echo " " >>other-corpus/manifest.json
    CORPUS=other-corpus must_fail piece home/weights
    MINUTES=5 piece home/weights | tee resumed
    grep -q "resumed from step" resumed
    bert_mobile evaluate home/weights "$RUN" --data "$corpus" --pairs 32 --sentences 5
    say "rehearsed: everything went as it should"
}

say() { echo "--- $1"; }

must_fail() {
    if ("$@"); then fail "accepted: $*" "it should have been refused"; fi
}

case ${1:-} in
cut) cut_up "${@:2}" ;;
join) join_up "${@:2}" ;;
piece) piece "${@:2}" ;;
hand-over) hand_over "${@:2}" ;;
rehearse) rehearse "${@:2}" ;;
*) sed -n 's/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | tail -n +2 >&2; exit 2 ;;
esac
