#!/usr/bin/env bash
# Sets everything up in .venv and passes the tests. With arguments, only what they choose, as pytest takes them:
# bash tests/run.sh tests/live/test_ardour.py
# --quick: two minutes of what most changes touch and needs no server, for while you work; it installs no system packages.
set -euo pipefail
cd "$(dirname "$0")/.."

# JACK with its dummy driver for ports and audio, and a synthesiser with a small SoundFont (GPL-2, for tests only), a voice,
# plug-ins and what they are built with (needs g++ and make), files of other programs, a DAW, a browser, and an SFTP server.
packages=(jackd2 libportaudio2 libfluidsynth3 timgm6mb-soundfont espeak-ng dpf-source lv2-dev sordi zam-plugins ffmpeg ardour)
packages+=(chromium openssh-server)
missing=()
for package in "${packages[@]}"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
install_packages() {
    local sudo
    sudo=$([ "$(id -u)" = 0 ] || echo 'sudo -n')
    $sudo apt-get -qq update &&
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        echo "Could not install ${missing[*]}: the tests that need them are skipped." >&2
}
# What waits for the network stands beside what needs the processor.
if ((${#missing[@]})) && [ "${1:-}" != --quick ] && command -v apt-get >/dev/null; then
    install_packages </dev/null &
    packages_job=$!
fi

[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
.venv/bin/pip install -q --disable-pip-version-check -c tests/constraints.txt -e '.[dev]'
# Two threads for arithmetic this small wait for each other; beside anything busy they hardly get on at all.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
.venv/bin/ruff check .
.venv/bin/ruff format --check --quiet .
if [ "${1:-}" = --quick ]; then
    exec .venv/bin/python -m pytest -n auto -m 'not slow and not jack' tests/house/test_layers.py tests/house/test_files.py \
        tests/score tests/music tests/transport tests/midi tests/system
fi
types() { # By itself pyright reads the packages of whatever python comes first on the path.
    nice -n 19 .venv/bin/pyright --pythonpath .venv/bin/python
}
if (($#)); then
    types
    [ -z "${packages_job:-}" ] || wait "$packages_job"
    exec .venv/bin/python -m pytest "$@"
fi
oldest() { # The oldest onnxruntime that pyproject.toml allows kept no hold of bound arrays: what talks to it runs on that
    # one too.
    [ -x .venv-oldest/bin/python ] || "${PYTHON:-python3}" -m venv .venv-oldest
    .venv-oldest/bin/pip install -q --disable-pip-version-check -c tests/constraints.txt 'onnxruntime==1.23.*' \
        hypothesis mido numpy platformdirs pytest rich soundfile
    PYTHONPATH=. nice -n 19 .venv-oldest/bin/python -m pytest -o cache_dir=.pytest_cache/oldest \
        tests/inference/test_decoder_memory.py tests/house/test_bundled.py tests/library/test_onnx_examples.py
}
# What plays in real time waits for most of its time. What needs no server fills that time, at the lowest priority, on all
# cores, and tells what it found when both are done. Each in a process group of its own (-m): what is started with & is
# deaf to Ctrl-C otherwise, and some tests press it.
alone='not slow and not jack' played='jack and not slow'
told=$(mktemp -d)
jobs=()
trap 'for job in "${jobs[@]}"; do kill -TERM -- "-$job" 2>/dev/null || true; done; rm -rf "$told"' EXIT
set -m
types </dev/null >"$told/types" 2>&1 &
types_job=$! jobs+=("$!")
# It has no wheels for Python 3.14.
if .venv/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 14))'; then
    (set -e; oldest) </dev/null >"$told/oldest" 2>&1 &
    oldest_job=$! jobs+=("$!")
fi
[ -z "${packages_job:-}" ] || wait "$packages_job"
nice -n 19 .venv/bin/python -m pytest -m "$alone" -n auto -o cache_dir=.pytest_cache/alone </dev/null >"$told/alone" 2>&1 &
alone_job=$! jobs+=("$!")
set +m
# Only the files that can hold such tests: to read all of them takes half a minute.
mapfile -t files < <(grep -rlEi 'jack|test_isolate_ends' tests --include='test_*.py' | grep -v test_ardour)
played_failed='' alone_failed='' daw_failed='' beside_failed=''
.venv/bin/python -m pytest -m "$played" -o cache_dir=.pytest_cache/played "${files[@]}" || played_failed=1
wait "$types_job" || beside_failed=1
[ -z "${oldest_job:-}" ] || wait "$oldest_job" || beside_failed=1
wait "$alone_job" || alone_failed=1
cat "$told"/*
# A DAW is judged to the hundredth of a second: with the machine to itself.
.venv/bin/python -m pytest -m "$played" -o cache_dir=.pytest_cache/daw tests/live/test_ardour.py || daw_failed=1
# What fails beside others is tried once more alone, and named: a test on the list is a race to mend, not a pass to be
# content with.
again() {
    echo 'Failed at first, now once more alone:'
    cat ".pytest_cache/$1/v/cache/lastfailed"
    .venv/bin/python -m pytest -o "cache_dir=.pytest_cache/$1" --last-failed --last-failed-no-failures none -m "$2"
}
[ -z "$played_failed" ] || again played "$played"
[ -z "$daw_failed" ] || again daw "$played"
[ -z "$alone_failed" ] || again alone "$alone"
[ -z "$beside_failed" ]
