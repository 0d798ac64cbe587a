#!/usr/bin/env bash
# Closure reports, on files that no bundle was trained on: of the shipped bundles, of the paper's network, and of the
# shipped one spoilt on purpose.
#
#   benchmarks/closure.sh FULL_AK4_FOLDER NANO_AK5_FOLDER ATLAS_AK4_FOLDER OUTPUT
#
# About 25 minutes on two cores, and as long again for the paper's network, which is trained first.
# shellcheck disable=SC2046 # names of files without blanks
set -euo pipefail
export OMP_NUM_THREADS=1
ak4=$1 ak5=$2 atlas=$3 output=$4
mkdir -p "$output"

files() { # FOLDER PROCESS...: validation and test files of the processes
  for process in "${@:2}"; do
    for split in valid test; do echo "$process=$1/${process}_$split.root"; done
  done
}
report() { # NAME OPTIONS...
  coffea-iqn validate "${@:2}" --output "$output/$1" | tee "$output/$1.txt"
}

box="30<pt<35,abs(eta)<1,5<mass<10"
report cms-delphes-ak4 $(files "$ak4" qcd qcdflat ttbar wzjets) --model cms-delphes-ak4 --select "$box"
report atlas-delphes-ak4 $(files "$atlas" qcd qcdflat ttbar) --model atlas-delphes-ak4
report cms-delphes-ak5 $(files "$ak5" qcd qcdflat ttbar wzjets) --model cms-delphes-ak5 --select "$box"

[ -d "$output/bundles/paper-iqnx4" ] ||
  coffea-iqn train qcd="$ak4/qcd_train.root" --recipe paper-iqnx4 --output "$output/bundles/paper-iqnx4"
report shipped-on-qcd $(files "$ak4" qcd) --model cms-delphes-ak4
report paper-iqnx4 $(files "$ak4" qcd) --model "$output/bundles/paper-iqnx4" --compare "$output/shipped-on-qcd"

report unspoilt $(files "$ak4" qcd qcdflat) --model cms-delphes-ak4
for how in pt-smeared mass-shifted tails-cut independent; do
  report "$how" $(files "$ak4" qcd qcdflat) --model cms-delphes-ak4 --spoil "$how" --compare "$output/unspoilt"
done
