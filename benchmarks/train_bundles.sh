#!/usr/bin/env bash
# Train the shipped bundles of the CMS card for R = 0.4 and of the ATLAS card:
#     benchmarks/train_bundles.sh NANO_AK4_FOLDER FULL_AK4_FOLDER ATLAS_AK4_FOLDER OUTPUT_FOLDER
# Half an hour for the large networks and as much for the small ones that learn from them, which are shipped; one core each.
# What each folder holds is in data/README.md. The bundle for R = 0.5 is of before, see there.
set -euo pipefail
nano=$1 full=$2 atlas=$3 output=$4

train() { # name, arguments of both, then of the large networks, then of the small ones
  local name=$1 both=$2 large=$3 small=$4
  # shellcheck disable=SC2086
  coffea-iqn train $both $large --detector "$5" --batch-size 2048 --output "$output/large/$name"
  # shellcheck disable=SC2086
  coffea-iqn train $both $small --detector "$5" --batch-size 2048 --output "$output/$name" --teacher "$output/large/$name" \
    --hidden 36 36 --learning-rate 0.003 --check-every 1000
}

cms="qcd=$full/qcd_train.root qcdflat=$full/qcdflat_train.root ttbar=$full/ttbar_train.root wzjets=$full/wzjets_train.root
  qcd=$nano/qcd_train.root qcdflat=$nano/qcdflat_train.root ttbar=$nano/ttbar_train.root
  --share qcd=0.36 --share qcdflat=0.30 --share ttbar=0.20 --share wzjets=0.14 --radius 0.4 --energy 13 --eta-max 5"
train cms-delphes-ak4 "$cms" "--hidden 80 80 --steps 20000 --check-every 1000 --scale delphes-cms --raw-pt-min 10" \
  "--steps 20000" "Delphes, CMS card, no pile-up, jet thresholds at 10 GeV" &
train atlas-delphes-ak4 "qcd=$atlas/qcd_train.root qcdflat=$atlas/qcdflat_train.root ttbar=$atlas/ttbar_train.root
  --share qcd=0.40 --share qcdflat=0.35 --share ttbar=0.25 --radius 0.4 --energy 13" \
  "--hidden 64 64 --steps 8000 --check-every 500 --weight-decay 0.05" \
  "--steps 15000" "Delphes, ATLAS card, no pile-up, jet thresholds at 10 GeV" &
wait
