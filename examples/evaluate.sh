#!/bin/sh
# heed eval on people's published labels and on the released outputs of InstructGPT's models; some two minutes of processor time.
#
#   npm run build && sh examples/evaluate.sh DATA [RUN]
#
# DATA holds preferences/, eval/ and pretrain/. The models are tiny and trained here, so that their numbers say how the measures work, not how
# good models are. docs/results.md has what came of it.
set -eu
data=$1
run=${2:-runs/evaluate}
here=$(dirname "$0")
heed() { echo; echo "heed $*" | sed "s#$data#DATA#g; s#$run#RUN#g"; node "$here/../dist/lib/cli/main.js" "$@"; }
rows="$run/rows"

node "$here/people.mjs" "$data" "$rows"

# 1. The paper's twelve models: exact match and F1, and what the released judges say of truth and of informativeness.
heed eval --outputs "$rows/squadv2-outputs.jsonl" --questions "$rows/squadv2-questions.jsonl" --out "$run/squad"
heed eval --outputs "$rows/drop-outputs.jsonl" --questions "$rows/drop-questions.jsonl" --out "$run/drop"
heed eval --outputs "$rows/truthful_qa-outputs.jsonl" --judge "$rows/judge-true.mjs" --judge "$rows/judge-info.mjs" --out "$run/truthful"

# 2. People: who is preferred, and how far labelers agree.
heed eval --labels "$rows/tulu-labels.jsonl" --out "$run/tulu"
heed eval --labels "$rows/pandalm-labels.jsonl" --out "$run/pandalm"
heed eval --labels "$rows/dexperts-labels.jsonl" --out "$run/dexperts"

# 3. A tiny base model of web text and stories, from which the reward models start.
stories="$data/pretrain/tinystories_subset.jsonl.gz $data/pretrain/childrens_stories_ccby.jsonl.gz"
heed tokenizer --data "$data/pretrain/tinystories_subset.jsonl.gz" "$data/pretrain/wikitext2_valid.txt.gz" "$rows/prompts.jsonl" \
  --vocab-size 2048 --out "$run/tokenizer"
heed pretrain --data $stories "$data/pretrain/wikitext2_valid.txt.gz" --tokenizer "$run/tokenizer" --num-layers 2 --max-positions 512 \
  --max-length 256 --batch-tokens 2048 --steps 300 --out "$run/base"
base="$run/base/model"

# 4. Toxicity of the paper's models, by a scorer trained on labelled tweets.
heed reward --model "$base" --data "$rows/tweets-pairs.jsonl" --batch-size 32 --learning-rate 5e-4 --out "$run/scorer"
heed eval --outputs "$rows/real_toxicity-outputs.jsonl" --toxicity "$run/scorer/model" --toxicity-labels "$rows/tweets-test.jsonl" \
  --out "$run/toxicity"

# 5. Whose values: opposite goals, a reward model and a policy of each, and how far they differ.
for goal in more_positive more_negative; do
  heed reward --model "$base" --data "$rows/$goal-train.jsonl" --batch-size 16 --learning-rate 5e-4 --epochs 2 --out "$run/rm-$goal"
  heed dpo --model "$base" --data "$rows/$goal-train.jsonl" --batch-size 16 --learning-rate 3e-4 --epochs 2 --out "$run/dpo-$goal"
done
cat "$rows/more_positive-test.jsonl" "$rows/more_negative-test.jsonl" >"$rows/goals-test.jsonl"
heed eval --models "$base" "$run/dpo-more_positive/model" "$run/dpo-more_negative/model" --prompts "$rows/prompts.jsonl" \
  --judge "$run/rm-more_positive/model" --judge "$run/rm-more_negative/model" --divergence \
  --labels "$rows/goals-test.jsonl" --reward-models "$run/rm-more_positive/model" "$run/rm-more_negative/model" \
  --perplexity "$data/pretrain/wikitext2_valid.txt.gz" --stereotypes "$data/eval/crows_pairs_1508.jsonl.gz" \
  --choices "$data/eval/truthfulqa_817.jsonl.gz" --max-new-tokens 24 --out "$run/goals"

# 6. Generalisation to labelers whose labels were not seen.
heed eval --labels "$rows/endings-labels.jsonl" --across-labelers "$base" --folds 5 --epochs 2 --out "$run/endings"

# 7. Over-optimisation: proxies of a quarter of the labels each, a gold model of the other half.
for part in gold proxy-a proxy-b; do
  heed reward --model "$base" --data "$rows/positive-$part.jsonl" --batch-size 16 --learning-rate 5e-4 --epochs 2 --out "$run/$part"
done
heed eval --models "$base" --prompts "$rows/prompts.jsonl" --proxy "$run/proxy-a/model" "$run/proxy-b/model" --gold "$run/gold/model" \
  --samples 128 --max-new-tokens 24 --out "$run/over"
