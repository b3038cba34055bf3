#!/usr/bin/env bash
# Sets everything up in .venv and passes the tests; arguments go to pytest (tests/run.sh -m slow).
set -euo pipefail
cd "$(dirname "$0")/.."

# JACK with its dummy driver for ports and audio, and a synthesiser with a small SoundFont (GPL-2, for tests only), a voice,
# and what plug-ins are built with (needs g++ and make).
packages=(jackd2 libportaudio2 libfluidsynth3 timgm6mb-soundfont espeak-ng dpf-source)
missing=()
for package in "${packages[@]}"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if ((${#missing[@]})) && command -v apt-get >/dev/null; then
    sudo=$([ "$(id -u)" = 0 ] || echo 'sudo -n')
    $sudo apt-get -qq update &&
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        echo "Could not install ${missing[*]}: the tests that need them are skipped." >&2
fi

[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
.venv/bin/pip install -q --disable-pip-version-check -c tests/constraints.txt -e '.[dev]'
# Two threads for arithmetic this small wait for each other; beside anything busy they hardly get on at all.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
.venv/bin/ruff check .
# By itself pyright reads the packages of whatever python comes first on the path.
.venv/bin/pyright --pythonpath .venv/bin/python
.venv/bin/python -m pytest "$@"
