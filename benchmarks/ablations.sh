#!/bin/sh
# What each part of the default network is worth, and two stages against one for every proposer.
#
#     benchmarks/ablations.sh SAMPLE OUT [PLANTED CHARADES_STA]
#
# SAMPLE is what `bpnet features sample` makes; PLANTED what the generator of planted features makes
# of Charades-STA, whose annotations are in CHARADES_STA. Tables: OUT/*/ablation.md. Three seeds;
# five epochs of the sample (the demo has ten), 400 steps of the other. The same command goes on
# where it was cut off. Scores compare models with one another on the same videos only.
set -e
sample=$1 out=$2 planted=$3 charades=$4

ablate() {
    folder=$1
    shift
    python scripts/ablate.py --seeds 3 --split test --out "$out/$folder" "$@" trainer.calibrate=false
}

on_sample() {
    ablate "$@" experiment=demo "data.root=$sample" trainer.max_epochs=5 trainer.validate_every=5
}

on_planted() {
    ablate "$@" experiment=bench/planted_charades "data.root=$planted" \
        "data.annotations=$charades" trainer.max_steps=400 trainer.validate_every=4
}

for proposer in span dense set windows; do
    on_sample "sample_$proposer" --variant "stage one alone: model.stage_two=false" \
        "model.proposer=$proposer"
done

on_sample sample_stage_two \
    --vary model.num_proposals=4,8,32,64 \
    --vary model.fusion=query_concat,word_frame,none \
    --vary model.matching_loss=mse,scaled_iou_bce \
    --vary model.matching_weight=1,2,10 \
    --vary model.refinement_weight=0,1 \
    --vary model.mismatch_weight=0 \
    --vary model.overlap_weight=0 \
    --vary model.contrast_weight=0

if [ -n "$planted" ]; then
    for proposer in span dense set windows; do
        on_planted "planted_$proposer" --variant "stage one alone: model.stage_two=false" \
            "model.proposer=$proposer"
    done
fi

on_sample sample_parts \
    --vary model.span_feature=mean,ends \
    --vary model.num_relation_layers=0 \
    --vary model.score_residual=false \
    --vary model.score_fusion=0 \
    --vary model.detach_stage_two=true \
    --vary model.num_similarities=0 \
    --vary model.pair_dim=0 \
    --variant "pair_dim=0 boundary_targets=soft: model.pair_dim=0 model.boundary_targets=soft" \
    --vary model.proposal_order=probability \
    --vary model.proposal_nms=null \
    --vary trainer.ema_decay=0 \
    --vary trainer.queries_per_video=1
