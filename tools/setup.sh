#!/usr/bin/env bash
# Brings in what the tests need beside npm: Debian's mlir-19-tools, llvm-19 and lld-19 (the native target's, which also
# check that printed graphs are valid MLIR), qemu-user (code for other processors is run in it) and chromium (what runs
# in browsers is tested in one). `tools/setup.sh bench` adds the peers of the benchmarks: Debian's PyTorch, with OpenBLAS,
# since on the reference BLAS it is ten times slower, and what GradBench's evaluators and JavaScript tools need. Quick when nothing is missing; where it may not install (no Debian,
# not root), it says what is missing and leaves the machine alone.
set -euo pipefail

missing=()
command -v mlir-opt-19 >/dev/null || missing+=(mlir-19-tools)
command -v llc-19 >/dev/null || missing+=(llvm-19)
command -v ld.lld-19 >/dev/null || missing+=(lld-19)
# What computes f128: Clang's library, or that of a GCC that is there.
compgen -G "/usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.builtins-*.a" >/dev/null ||
  compgen -G "/usr/lib/gcc/*/*/libgcc.a" >/dev/null || missing+=(libclang-rt-19-dev)
command -v qemu-aarch64 >/dev/null || missing+=(qemu-user)
command -v chromium >/dev/null || missing+=(chromium)
if [ "${1:-}" = bench ]; then
  # Debian's own Python: another one before it in the path does not see Debian's packages.
  /usr/bin/python3 -c 'import torch, numpy' 2>/dev/null || missing+=(python3-torch python3-numpy)
  ls /usr/lib/*/openblas-pthread/libblas.so.3 >/dev/null 2>&1 || missing+=(libopenblas0-pthread)
  # GradBench's evaluators: Python packages, and golden programs in C++ that read JSON.
  /usr/bin/python3 -c 'import scipy' 2>/dev/null || missing+=(python3-scipy)
  /usr/bin/python3 -c 'import pydantic' 2>/dev/null || missing+=(python3-pydantic)
  /usr/bin/python3 -c 'import dataclasses_json' 2>/dev/null || missing+=(python3-dataclasses-json)
  command -v g++ >/dev/null && command -v make >/dev/null || missing+=(g++ make)
  [ -e /usr/include/nlohmann/json.hpp ] || missing+=(nlohmann-json3-dev)
  # TensorFlow.js is a peer of one suite and larger than all other packages together: not a dependency.
  peers="$HOME/.cache/fidelity/bench-peers"
  if [ ! -d "$peers/node_modules/@tensorflow/tfjs" ]; then
    mkdir -p "$peers"
    echo '{"private":true,"dependencies":{"@tensorflow/tfjs":"4.22.0"}}' >"$peers/package.json"
    npm install --prefix "$peers" --ignore-scripts --no-audit --no-fund >/dev/null 2>&1 ||
      echo "setup: could not install TensorFlow.js; the gradbench suite goes without it" >&2
  fi
fi
[ "${#missing[@]}" -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "setup: missing ${missing[*]}; on Debian: sudo apt-get install ${missing[*]}" >&2
  exit 0
fi
echo "setup: installing ${missing[*]}"
log=$(mktemp)
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; }
# Package lists of a fresh image are missing or old; fetch them only when the first try fails.
if ! install && ! { apt-get update >/dev/null 2>&1 && install; }; then
  tail -n 20 "$log" >&2
  echo "setup: could not install ${missing[*]}" >&2
fi
rm -f "$log"
