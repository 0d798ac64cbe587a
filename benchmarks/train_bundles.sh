#!/usr/bin/env bash
# Train the shipped bundles:  benchmarks/train_bundles.sh NANO_AK4_FOLDER NANO_AK5_FOLDER SUBSTRUCTURE_AK4_FOLDER OUTPUT_FOLDER
# An hour each on one core: half for large networks, half for small ones that learn from them, which are shipped.
# What each folder holds is in data/README.md.
set -euo pipefail
ak4=$1 ak5=$2 sub=$3 output=$4

train() { # name, radius, files
  local name=$1 radius=$2
  shift 2
  local both=("$@" --radius "$radius" --share qcd=0.40 --share qcdflat=0.33 --share ttbar=0.21 --share wzjets=0.06
    --detector "Delphes, CMS card, no pile-up, jet thresholds at 10 GeV" --energy 13 --eta-max 5)
  coffea-iqn train "${both[@]}" --output "$output/large/$name" --hidden 64 64 --steps 30000 \
    --scale delphes-cms --raw-pt-min 10
  coffea-iqn train "${both[@]}" --output "$output/$name" --teacher "$output/large/$name" --hidden 36 36 --steps 30000 \
    --batch-size 2048 --learning-rate 0.003 --check-every 1000
}

four() { # folder
  echo "qcd=$1/qcd_train.root qcdflat=$1/qcdflat_train.root ttbar=$1/ttbar_train.root wzjets=$1/wzjets_train.root"
}

# shellcheck disable=SC2046
train cms-delphes-ak4 0.4 $(four "$ak4") qcd="$sub/qcd_train.root" qcdflat="$sub/qcdflat_train.root" ttbar="$sub/ttbar_train.root" &
# shellcheck disable=SC2046
train cms-delphes-ak5 0.5 $(four "$ak5") &
wait
