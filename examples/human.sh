#!/bin/sh
# The three phases on human data: books, human demonstrations, human rankings; at most ten minutes on two cores.
#
#   npm run build && sh examples/human.sh [DATA] [RUN]
#
# DATA holds pretrain/, sft/ and preferences/ (default ../shared/data). docs/results.md has what came of it.
set -eu
data=${1:-../shared/data}
run=${2:-runs/human}
heed() { node "$(dirname "$0")/../dist/lib/cli/main.js" "$@"; }

# Preference prompts are dialogues of the form "\n\nHuman: …\n\nAssistant:"; the hh template puts the demonstrations into it.
books="$data/pretrain/tinystories_subset.jsonl.gz $data/pretrain/childrens_stories_ccby.jsonl.gz
  $data/pretrain/gutenberg_childrens_12.jsonl.gz $data/pretrain/wikitext2_valid.txt.gz"
demonstrations="$data/sft/oasst_en_best_replies_human.jsonl.gz $data/sft/lima_1029_human.jsonl.gz
  $data/sft/selfinstruct_seed_human.jsonl.gz"
rankings="$data/preferences/human_ranked_unified.jsonl.gz $data/preferences/human_pairs_unified.jsonl.gz"

heed tokenizer --data $books $demonstrations --vocab-size 2048 --out "$run/tokenizer"
heed pretrain --data $books --tokenizer "$run/tokenizer" --max-positions 512 --max-length 256 --batch-tokens 2048 --epochs 2 \
  --out "$run/base"
heed sft --model "$run/base/model" --data $demonstrations --template hh \
  --pretrain $books --ptx-coef 0.3 --ptx-tokens 512 \
  --epochs 6 --batch-size 16 --learning-rate 1e-3 --dropout 0.1 --out "$run/sft"
heed reward --model "$run/sft/model" --data $rankings --max-length 384 --validation-fraction 0.15 \
  --batch-size 32 --learning-rate 5e-4 --out "$run/reward"
# PPO's prompts are those of the rankings, so the samples in its report are not held out.
heed ppo --policy "$run/sft/model" --reward-model "$run/reward/model" --prompts $rankings --pretrain $books \
  --max-length 256 --max-new-tokens 48 --iterations 24 --batch-size 64 --minibatches 2 \
  --learning-rate 2e-4 --value-learning-rate 1e-3 --kl-coef 0.05 --value-clip-range 1 --out "$run/ppo"

echo "reports: $run/base/report.html $run/sft/report.html $run/reward/report.html $run/ppo/report.html"
