#!/usr/bin/env bash
# From recordings and scores to the folders that separators learn from (docs/training/separation.md): fonts, then bands.
#   bash docs/training/separation.sh ../shared/data data
# Some ten minutes of a core for fonts, an hour for bands; what is there already is not made again.
# Debian: fluid-soundfont-gm musescore-general-soundfont-small csound-soundfont timgm6mb-soundfont, and npm for two more fonts.
set -euo pipefail
given=$(realpath "$1") D=$(realpath -m "$2") A=$(realpath "$1")/audio
I=$A/instruments drums=$A/drums F=$D/fonts
X=$I/Discord-SFZ-GM-Bank K=$I/keyboardia T=$I/tonejs-instruments-via-midi-gen R=$I/tonejs-instruments-via-sounds-of-ror N=$D/tonejs
HELD='whysynth|xsynth|lmms-(watsyn|nescaline|monstro)' # programs kept apart for the test
mkdir -p "$F" "$D/midi"
font() { # NAME WORD=FOLDER...
    [ -s "$F/$1.sf2" ] || genaudio-train prepare-font -o "$F/$1.sf2" "${@:2}"
}
bands() { # NAME FOLDERS... -- OPTIONS
    local name=$1 folders=() && shift
    while [ "$1" != -- ]; do folders+=("$D/midi/$1") && shift; done
    [ -s "$D/$name/done" ] || { genaudio-train prepare-bands "${folders[@]}" -o "$D/$name" "${@:2}" && date > "$D/$name/done"; }
}

# Scores of bands; written ones beside them (`genaudio-train write-bands`), where a folder `written` holds some.
for name in freedoom blasphemer easyrpg_rtp simutrans; do
    [ -d "$D/midi/$name" ] || { mkdir "$D/midi/$name" && tar xJf "$given/symbolic/$name.tar.xz" -C "$D/midi/$name"; }
done
games=(freedoom blasphemer easyrpg_rtp simutrans) all=(freedoom blasphemer easyrpg_rtp simutrans)
[ ! -d "$D/midi/written" ] || all+=(written)

# Fonts of others: GeneralUser GS, Sonivox (Apache-2.0), Nicholaus Brosowsky's tonejs-instruments (CC BY 3.0).
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
[ -s "$F/generaluser.sf2" ] || (cd "$tmp" && apt-get download -qq minuet-data && dpkg -x minuet-data*.deb . &&
    cp "$(find . -name 'GeneralUser*.sf2')" "$F/generaluser.sf2")
[ -s "$F/sonivox.sf2" ] || (cd "$tmp" && npm pack -s @coderline/alphatab > /dev/null &&
    tar xzf coderline-alphatab-*.tgz -C "$F" --strip-components 3 package/dist/soundfont/sonivox.sf2)
for name in bass-electric bassoon cello clarinet contrabass flute french-horn guitar-acoustic guitar-electric guitar-nylon harmonium \
    harp organ piano saxophone trombone trumpet tuba violin xylophone; do
    [ -d "$N/$name" ] || (cd "$tmp" && npm pack -s "tonejs-instrument-$name-mp3" > /dev/null && mkdir -p "$N/$name" &&
        tar xzf "tonejs-instrument-$name-mp3"-*.tgz --strip-components 1 -C "$N/$name")
done
font tonejs piano="$N/piano" piano="$X/electric-grand-piano" "acoustic guitar=$N/guitar-nylon" "acoustic guitar=$N/guitar-acoustic" \
    "electric guitar=$N/guitar-electric" "electric bass=$N/bass-electric" "double bass=$N/contrabass" violin="$N/violin" \
    cello="$N/cello" organ="$N/organ" "church organ=$N/harmonium" saxophone="$N/saxophone" trumpet="$N/trumpet" \
    trombone="$N/trombone" "french horn=$N/french-horn" flute="$N/flute" clarinet="$N/clarinet" bassoon="$N/bassoon" \
    tuba="$N/tuba" harp="$N/harp" xylophone="$N/xylophone"

# Fonts of recorded instruments.
font recorded piano="$X/grand-piano" piano="$K/grand-piano" piano="$X/upright-piano" "electric piano=$X/electric-piano" \
    "acoustic guitar=$X/steel-string-acoustic-guitar" "acoustic guitar=$R/acoustic-guitar" \
    "electric guitar=$I/karoryfer.emilyguitar/clean-electric-guitar" "electric bass=$X/electric-bass-guitar" \
    "double bass=$I/karoryfer.meatbass/double-bass-pizzicato" "double bass=$I/karoryfer.meatbass/double-bass-bowed" \
    strings="$K/cello-and-viola-section" strings="$X/tremolo-strings" "pizzicato strings=$X/pizzicato-strings" \
    organ="$K/drawbar-organ-emulation" saxophone="$I/karoryfer.weresax/alto-saxophone" "french horn=$K/french-horn" \
    marimba="$K/marimba" vibraphone="$K/vibraphone" kalimba="$K/kalimba" xylophone="$R/xylophone"
font band-a "electric bass=$I/karoryfer.growlybass/electric-bass-guitar" "electric bass=$I/karoryfer.swagbass/electric-bass-guitar" \
    "electric bass=$I/karoryfer.fashionbass/electric-bass-guitar" \
    "electric guitar=$I/karoryfer.black-and-green-guitars/clean-electric-guitar" \
    "electric guitar=$I/karoryfer.black-and-green-guitars/muted-electric-guitar" \
    "electric guitar=$I/karoryfer.emilyguitar/clean-electric-guitar" \
    "distorted guitar=$I/karoryfer-through-amp/distorted-electric-guitar" "electric piano=$I/GregSullivan.E-Pianos/electric-piano" \
    piano="$X/grand-piano" piano="$I/GregSullivan.E-Pianos/electric-grand-piano" piano="$X/upright-piano" \
    saxophone="$I/MTG.SoloSax/soprano-saxophone" saxophone="$I/MTG.SoloSax/alto-saxophone" \
    saxophone="$I/MTG.SoloSax/tenor-saxophone" saxophone="$I/MTG.SoloSax/baritone-saxophone" trumpet="$T/trumpet" \
    violin="$T/violin" cello="$I/EthanWiner.Soundfonts/cello" flute="$I/Ixox.Flute/flute" \
    organ="$I/karoryfer.caveman-cosmonaut/organ" tuba="$I/karoryfer.war-tuba/tuba" bassoon="$I/EthanWiner.Soundfonts/bassoon" \
    banjo="$I/ganjo/banjo" vibraphone="$T/vibraphone" glockenspiel="$I/EthanWiner.Soundfonts/glockenspiel" \
    "double bass=$I/karoryfer.meatbass/double-bass-pizzicato" "synth bass=$I/karoryfer.caveman-cosmonaut/synth-bass" \
    "acoustic guitar=$X/steel-string-acoustic-guitar"
font band-b "electric bass=$I/karoryfer.sneakybass/electric-bass-guitar" "electric bass=$X/electric-bass-guitar" \
    "electric bass=$T/electric-bass-guitar" "electric guitar=$T/clean-electric-guitar" "acoustic guitar=$R/acoustic-guitar" \
    "acoustic guitar=$I/karoryfer.shinyguitar/archtop-guitar" "electric piano=$X/electric-piano" piano="$K/grand-piano" \
    saxophone="$I/karoryfer.weresax/alto-saxophone" strings="$K/cello-and-viola-section" strings="$X/tremolo-strings" \
    "pizzicato strings=$X/pizzicato-strings" organ="$K/drawbar-organ-emulation" "french horn=$K/french-horn" \
    "double bass=$I/karoryfer.ergo/double-bass-pizzicato" marimba="$K/marimba" vibraphone="$K/vibraphone" kalimba="$K/kalimba" \
    violin="$R/violin" cello="$T/cello" choir="$I/scratch-vm/choir" trombone="$I/scratch-vm/trombone" xylophone="$R/xylophone"

# Fonts of synthesizers, each with presets of its own, all of the family 'synth' whatever slot they are in.
synths() { # NAME FONTS GREP-OPTION: presets of programs that are kept apart (-E) or not (-vE)
    local k words pools
    for pool in 'bass:bass' 'lead:lead|arp' 'pad:pad|pluck|key|organ|choir' 'strings:strings|bell|wind' 'brass:brass|fx'; do
        find "$A/synths" -mindepth 3 -maxdepth 3 -type d | grep -E "/(${pool#*:})/[^/]*$" | grep "$3" "/($HELD)/" | sort |
            shuf --random-source=<(yes 25) > "$tmp/$1-${pool%%:*}"
    done
    for k in $(seq 0 $(($2 - 1))); do
        pools=()
        for words in 'bass:synth bass:2' 'lead:synth lead:4' 'pad:synth pad:6' 'strings:synth strings:2' 'brass:synth brass:1'; do
            IFS=: read -r pool name n <<< "$words"
            mapfile -t -O ${#pools[@]} pools < <(sed -n "$((k * n + 1)),$((k * n + n))p" "$tmp/$1-$pool" | sed "s|^|$name=|")
        done
        font "$1$k" "${pools[@]}"
    done
}
synths synth 25 -vE
synths held-synth 3 -E

# Kits: of drum machines a sound for each drum, from whatever machine; then whole ones.
for k in $(seq 0 13); do
    for drum in "$drums"/lmms-drumsynth/*/; do
        mkdir -p "$D/kits/$k/$(basename "$drum")"
        cp "$(find "$drum" -name '*.ogg' | sort | shuf -n 1 --random-source=<(yes "$k"))" "$D/kits/$k/$(basename "$drum")"
    done
    font "kit-machine$k" "drum kit=$D/kits/$k"
done
for kit in Kit3 Kit8 R8 Techno KPR77 Stark CR78 acoustic-kit 4OP-FM; do font "kit-$kit" "drum kit=$drums/web-audio-samples/$kit"; done
font kit-muldjord "drum kit=$drums/DrumGizmo.MuldjordKit"
font kit-vcsl "drum kit=$drums/VCSL-via-midi-gen"
# Kept apart for the test.
font held-kit "drum kit=$drums/karoryfer.gogodze-phu-vol-ii"
font held-linn "drum kit=$drums/web-audio-samples/LINN"
font held-band "electric bass=$I/karoryfer.pastabass/electric-bass-guitar" "electric guitar=$I/karoryfer.shinyguitar/clean-electric-guitar" \
    piano="$I/SplendidGrandPiano/grand-piano" saxophone="$I/karoryfer.bear-sax/baritone-saxophone" \
    "double bass=$I/dsmolken.double-bass/double-bass-pizzicato"

# Bands. Real songs with stems, but for those kept apart, are a set of their own.
S=/usr/share/sounds
GM=("$S/sf2/FluidR3_GM.sf2" "$S/sf3/MuseScore_General_Lite.sf3" "$S/sf2/sf_GMbank.sf2")
recorded=("$F/recorded.sf2" "$F/tonejs.sf2" "$F/sonivox.sf2") kits=("$F"/kit-*.sf2) real=("$F"/band-*.sf2)
pop=(--vary --sung 0.6 --drum-parts 0.3 --recordings "$A" --splits train)
bands bands-gm1 "${games[@]}" -- --per-minute 1 --seed 301 --splits train --fonts "${GM[@]}" "$F/generaluser.sf2"
bands bands-rec "${games[@]}" -- --per-minute 1 --seed 302 --vary --splits train --fonts "${recorded[@]}" "${GM[@]}" "$F/generaluser.sf2"
bands bands-own "${games[@]}" -- --per-minute 0.5 --seed 7 --vary --synthesizer --splits train --fonts "${recorded[@]}" "$F/generaluser.sf2"
bands bands-pop1 "${all[@]}" -- --per-minute 0.4 --seed 101 --synths 0.6 "${pop[@]}" --fonts "${GM[@]}" "$F"/synth?.sf2 "$F"/synth1?.sf2 \
    "${kits[@]}" "${real[@]}"
bands bands-pop2 "${all[@]}" -- --per-minute 0.4 --seed 103 --synths 0.5 "${pop[@]}" --fonts "$F/generaluser.sf2" "$F"/synth1?.sf2 \
    "$F"/synth2?.sf2 "${kits[@]}" "${real[@]}"
bands bands-band1 "${all[@]}" -- --per-minute 0.4 --seed 102 --synths 0.15 "${pop[@]}" --fonts "${GM[@]}" "$F"/synth*.sf2 "${kits[@]}" "${real[@]}"
bands bands-test freedoom blasphemer easyrpg_rtp -- --per-minute 1 --seed 201 --splits test --test-fonts "$S/sf2/TimGM6mb.sf2"
bands bands-held "${games[@]}" -- --per-minute 1 --seed 201 --synths 0.6 --sung 0.6 --recordings "$A" --splits test \
    --test-fonts "$F"/held-*.sf2 "$S/sf2/TimGM6mb.sf2"
for song in 'chip overture' 'augmented emotions'; do # under these names both are in the train split
    mkdir -p "$D/own/$song" && cp "$A/songs/drozerix-${song/ /-}"/*.ogg "$D/own/$song"
done
[ -s "$D/songs/index.jsonl" ] || genaudio-train prepare-sounds --own "$D/own" -o "$D/songs"
[ -s "$D/sounds/index.jsonl" ] || genaudio-train prepare-sounds --scores "$D/midi" --recordings "$A" -o "$D/sounds" --size 0.25
