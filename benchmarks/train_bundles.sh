#!/usr/bin/env bash
# Train the shipped bundles; the jets of cms-delphes-ak4-fast are trained on, from the shipped ones:
#     benchmarks/train_bundles.sh NANO_AK4_FOLDER FULL_AK4_FOLDER ATLAS_AK4_FOLDER NANO_AK5_FOLDER PARTICLES_AK5_FOLDER OUTPUT_FOLDER
# Two hours and a half on two cores. What each folder holds is in data/README.md, which says how cms-delphes-ak4-fast began.
set -euo pipefail
export OMP_NUM_THREADS=1
nano=$1 full=$2 atlas=$3 nano5=$4 particles=$5 output=$6
cms="Delphes, CMS card, no pile-up, jet thresholds at 10 GeV"

ak4() { # OPTIONS...
  coffea-iqn train qcd="$full/qcd_train.root" qcdflat="$full/qcdflat_train.root" ttbar="$full/ttbar_train.root" \
    wzjets="$full/wzjets_train.root" qcd="$nano/qcd_train.root" qcdflat="$nano/qcdflat_train.root" ttbar="$nano/ttbar_train.root" \
    --share qcd=0.36 --share qcdflat=0.30 --share ttbar=0.20 --share wzjets=0.14 --radius 0.4 --energy 13 --eta-max 5 \
    --detector "$cms" --scale delphes-cms --raw-pt-min 10 "$@"
}
ak4 --hidden 80 80 --steps 20000 --batch-size 2048 --check-every 1000 --output "$output/first" &
coffea-iqn train qcd="$nano5/qcd_train.root" qcdflat="$nano5/qcdflat_train.root" ttbar="$nano5/ttbar_train.root" \
  wzjets="$nano5/wzjets_train.root" --share qcd=0.40 --share qcdflat=0.28 --share ttbar=0.20 --share wzjets=0.12 \
  --radius 0.5 --energy 13 --eta-max 5 --detector "$cms" --scale delphes-cms --raw-pt-min 10 \
  --hidden 80 80 --steps 14000 --batch-size 2048 --check-every 1000 --weight-decay 0.05 --output "$output/cms-delphes-ak5" &
wait
ak4 --pretrained "$output/first" --learning-rate 0.001 --steps 12000 --batch-size 8192 --check-every 500 \
  --output "$output/cms-delphes-ak4" # larger batches find what a refinement would
coffea-iqn train qcd="$full/qcd_train.root" qcdflat="$full/qcdflat_train.root" ttbar="$full/ttbar_train.root" \
  wzjets="$full/wzjets_train.root" --share qcd=0.36 --share qcdflat=0.30 --share ttbar=0.20 --share wzjets=0.14 \
  --extend "$output/cms-delphes-ak4" --columns btag nCharged nNeutral chEF tau1 tau2 tau3 \
  --hidden 64 64 --steps 10000 --batch-size 2048 --check-every 1000 --output "$output/with-columns"
objects() { # BUNDLE OUTPUT: whole events beside the jets of a bundle
  coffea-iqn train qcd="$full/qcd_train.root" qcdflat="$full/qcdflat_train.root" ttbar="$full/ttbar_train.root" \
    wzjets="$full/wzjets_train.root" --extend "$1" --objects --steps 9000 --batch-size 1024 --output "$2"
}
objects "$output/with-columns" "$output/cms-delphes-ak4-events"
ak4 --pretrained cms-delphes-ak4-fast --targets symmetric --context flavour neighbours composition substructure event flavours missing \
  --learning-rate 0.001 --steps 8000 --batch-size 8192 --check-every 500 --output "$output/fast"
python - "$output/fast" "$output/fast-apart" << 'END' # overlapping jets are drawn independently, which is faster
import sys
from dataclasses import replace
from coffea_iqn import bundle
bundle.save(replace(bundle.load(sys.argv[1]), overlaps=None), sys.argv[2])
END
objects "$output/fast-apart" "$output/cms-delphes-ak4-fast"

coffea-iqn train qcd="$atlas/qcd_train.root" qcdflat="$atlas/qcdflat_train.root" ttbar="$atlas/ttbar_train.root" \
  --share qcd=0.40 --share qcdflat=0.35 --share ttbar=0.25 --radius 0.4 --energy 13 \
  --detector "Delphes, ATLAS card, no pile-up, jet thresholds at 10 GeV" \
  --pretrained "$output/first" --steps 8000 --batch-size 2048 --check-every 500 --weight-decay 0.05 \
  --output "$output/atlas-delphes-ak4" &
coffea-iqn train qcd="$full/qcd_train.root" qcdflat="$full/qcdflat_train.root" ttbar="$full/ttbar_train.root" \
  wzjets="$full/wzjets_train.root" qcd="$nano/qcd_train.root" qcdflat="$nano/qcdflat_train.root" ttbar="$nano/ttbar_train.root" \
  --direction correct --radius 0.4 --energy 13 --detector "$cms" \
  --hidden 48 48 --steps 14000 --batch-size 2048 --check-every 1000 --output "$output/cms-delphes-ak4-correct" &
coffea-iqn train qcd="$nano5/qcd_train.root" qcdflat="$nano5/qcdflat_train.root" ttbar="$nano5/ttbar_train.root" \
  wzjets="$nano5/wzjets_train.root" --direction correct --radius 0.5 --energy 13 --detector "$cms" \
  --hidden 48 48 --steps 10000 --batch-size 2048 --check-every 1000 --output "$output/cms-delphes-ak5-correct" &
wait

coffea-iqn train ww="$particles/wwhad_train.root" qcd="$particles/qcdhard_train.root" --radius 0.5 --gen-pt-min 130 \
  --extend "$output/cms-delphes-ak5" --particles --steps 15000 --batch-size 1024 --check-every 500 --output "$output/cms-delphes-ak5-particles"
