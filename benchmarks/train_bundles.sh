#!/usr/bin/env bash
# Train the shipped bundles of the CMS card for R = 0.4 and of the ATLAS card:
#     benchmarks/train_bundles.sh NANO_AK4_FOLDER FULL_AK4_FOLDER ATLAS_AK4_FOLDER OUTPUT_FOLDER
# Forty minutes on two cores. What each folder holds is in data/README.md. The bundle for R = 0.5 is of before, see there.
set -euo pipefail
export OMP_NUM_THREADS=1
nano=$1 full=$2 atlas=$3 output=$4

cms() { # large networks, then small ones that learn from them, which are shipped: they fold three times as fast
  local both=(qcd="$full/qcd_train.root" qcdflat="$full/qcdflat_train.root" ttbar="$full/ttbar_train.root"
    wzjets="$full/wzjets_train.root" qcd="$nano/qcd_train.root" qcdflat="$nano/qcdflat_train.root" ttbar="$nano/ttbar_train.root"
    --radius 0.4 --energy 13 --eta-max 5 --detector "Delphes, CMS card, no pile-up, jet thresholds at 10 GeV"
    --batch-size 2048 --check-every 1000)
  coffea-iqn train "${both[@]}" --output "$output/large/cms-delphes-ak4" --hidden 80 80 --steps 20000 \
    --share qcd=0.36 --share qcdflat=0.30 --share ttbar=0.20 --share wzjets=0.14 --scale delphes-cms --raw-pt-min 10
  coffea-iqn train "${both[@]}" --output "$output/cms-delphes-ak4" --teacher "$output/large/cms-delphes-ak4" \
    --hidden 36 36 --steps 15000 --learning-rate 0.003 \
    --share qcd=0.40 --share qcdflat=0.33 --share ttbar=0.17 --share wzjets=0.10
}

cms &
coffea-iqn train qcd="$atlas/qcd_train.root" qcdflat="$atlas/qcdflat_train.root" ttbar="$atlas/ttbar_train.root" \
  --share qcd=0.40 --share qcdflat=0.35 --share ttbar=0.25 --radius 0.4 --energy 13 \
  --detector "Delphes, ATLAS card, no pile-up, jet thresholds at 10 GeV" \
  --hidden 64 64 --steps 8000 --batch-size 2048 --check-every 500 --weight-decay 0.05 --output "$output/atlas-delphes-ak4"
wait
