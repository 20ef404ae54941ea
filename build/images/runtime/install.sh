#!/bin/sh
# Installs pinned requirements into the image's virtual environment, and leaves nothing else in the layer.
set -eu
python3 -m venv /tmp/uv
/tmp/uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check "uv==${UV_VERSION:?}"
[ -e /opt/steno/bin/python ] || /tmp/uv/bin/uv venv --quiet --python /usr/bin/python3 /opt/steno
UV_CONCURRENT_DOWNLOADS=8 UV_HTTP_TIMEOUT=300 /tmp/uv/bin/uv pip install \
  --quiet --no-cache --no-deps --link-mode copy --python /opt/steno/bin/python "$@"
rm -rf /tmp/uv /root/.cache

# What no library of torch, CTranslate2 or CUDA links to, or names (`readelf -d`, `strings`): 340 MB.
cd /opt/steno/lib/python3.11/site-packages
rm -rf torch/include torch/bin/protoc* nvidia/*/include nvidia/cusolver/lib/libcusolverMg.so.* nvidia/cuda_nvrtc/lib/*.alt.so.* \
  nvidia/cublas/lib/libnvblas.so.* nvidia/cufft/lib/libcufftw.so.*
