#!/bin/sh
# Installs pinned requirements into the image's virtual environment, and leaves nothing else in the layer.
# Bytecode is compiled here, once, against its source's hash: containers run with a read-only root file system.
set -eu
python3 -m venv /tmp/uv
/tmp/uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check "uv==${UV_VERSION:?}"
[ -e /opt/steno/bin/python ] || /tmp/uv/bin/uv venv --quiet --python /usr/bin/python3 /opt/steno
PYC_INVALIDATION_MODE=UNCHECKED_HASH UV_CONCURRENT_DOWNLOADS=8 UV_HTTP_TIMEOUT=300 /tmp/uv/bin/uv pip install \
  --quiet --no-cache --no-deps --compile-bytecode --link-mode copy --python /opt/steno/bin/python "$@"
rm -rf /tmp/uv /root/.cache
