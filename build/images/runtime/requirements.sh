#!/bin/sh
# Writes the runtime's requirements, pinned with their digests by uv.lock, into a folder: one file for each layer.
# triton (540 MB) stays out: it compiles kernels for torch.compile, which nothing here calls.
set -eu
mkdir -p "$1"
"${UV:-uv}" export --quiet --frozen --no-dev --no-emit-workspace --no-emit-package triton --no-header --no-annotate \
  --package steno-runtime --output-file "$1/all.txt"
awk -v folder="$1" '
  /^[^ ]/                                      { layer = "rest" }
  /^nvidia-/                                   { layer = "cuda-2" }
  /^nvidia-(cudnn|nccl|cusparselt|nvjitlink)-/ { layer = "cuda-1" }
  /^(torch|torchaudio|torchvision)==/          { layer = "torch" }
  { print > (folder "/" layer ".txt") }' "$1/all.txt"
