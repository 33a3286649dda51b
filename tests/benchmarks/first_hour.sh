#!/bin/bash
# A new user's first hour, typed from the README: a clean clone and environment, then no network, no terminal, no question.
#
#     tests/benchmarks/first_hour.sh FOLDER > transcript.txt 2>&1
#
# FOLDER is made. The data is banking77 of the shared data beside the repository: 2,000 rows to train on, 500 to choose
# by, 3,080 to test on. Ends with 0 where each command ends as a new user expects. Takes some ten minutes on two cores.
set -eu
repository=$(cd "$(dirname "$0")/../.." && pwd)
data=$repository/../shared/data/open/banking77
mkdir "$1" && cd "$1"

xzcat "$data/test.csv.xz" > test.csv
xzcat "$data/train.csv.xz" | python3 -c '
import csv, random, sys
rows = list(csv.reader(sys.stdin))
random.Random(1).shuffle(body := rows[1:])
for name, part in ("train.csv", body[:2000]), ("dev.csv", body[2000:2500]):
    csv.writer(open(name, "w", newline="")).writerows([rows[0], *part])'

cat > install.sh <<'TYPED'
git clone -q "$REPOSITORY" bertcli
python3 -m venv venv
venv/bin/pip install -q './bertcli[torch]'
TYPED

cat > hour.sh <<'TYPED'
echo "a gripping film" | bertcli predict
bertcli finetune --help | head -24
bertcli check train.csv --dev dev.csv --label-field category | cut -c1-100 | head -20
bertcli finetune --train train.csv --dev dev.csv --label-field category --epochs 10 --lr 5e-4 -o intents --report training.html
bertcli evaluate test.csv -m intents --label-field category --report report.html | cut -c1-200
bertcli calibrate dev.csv -m intents --label-field category | cut -c1-200
bertcli evaluate test.csv -m intents --label-field category --fail-under accuracy=0.99 -q > metrics.json || echo "exit code $?"
bertcli predict -m intents test.csv -o labelled.csv
head -3 labelled.csv
# as cron runs it, and again after a power cut: nothing is said, and the exit code tells
env -i PATH="$PATH" sh -c 'bertcli predict -m intents test.csv -o nightly.jsonl --resume'
env -i PATH="$PATH" sh -c 'bertcli predict -m intents test.csv -o nightly.jsonl --resume'
wc -l nightly.jsonl
bertcli predict -m intents missing.csv || echo "exit code $?"
TYPED

REPOSITORY=$repository bash -ve install.sh
PATH=$PWD/venv/bin:$PATH unshare --net --map-root-user bash -ve hour.sh < /dev/null
