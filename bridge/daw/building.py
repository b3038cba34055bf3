"""The plug-ins, built from `plugin/` with the system's compiler and DPF (Debian's dpf-source), once for each change.

DPF is used as it is but for what it leaves out, which a copy of it is given before it is compiled: VST3's and CLAP's
word that the host renders, the song's position in CLAP, the place in the bar where the bar's line is told, VST3's
outputs after the first, and that a CLAP's latency which was told before it was switched on has not changed (hosts were
asked to start it again). LV2's place in the bar is counted in double precision. In LV2 the word that the host renders
is a port like any other (`lv2:freeWheeling`), named in the description after that is written.
"""

import hashlib
import os
import platform
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from genaudio_core.errors import GenaudioError
from genaudio_core.processes.programs import run_program
from genaudio_core.progress import progress_bar

SOURCES = Path(__file__).parent / 'plugin'
SHIPPED = Path(__file__).parent / 'built'
"""Where a wheel for Linux holds them built; see .github/workflows/release.yml."""
PLUGINS = ('stems', 'band')
FORMATS = {'VST3': 'vst3', 'CLAP': 'clap', 'LV2': 'lv2-dsp'}
"""Format -> DPF's list of what a binary of it lets others see."""
FLAGS = ('-std=gnu++17', '-fPIC', '-DPIC', '-DNDEBUG', '-fvisibility=hidden', '-fno-gnu-unique', '-pipe', '-w')
ADVICE = 'On Debian and Ubuntu: sudo apt install g++ dpf-source'
_FOREIGN = re.compile(r' ,\s*<http://kxstudio\.sf\.net/ns/lv2ext/props#NonAutomatable>|^ *mod:.*\n', re.MULTILINE)
_OFFLINE = 'fPlugin.setState("offline", {} ? "1" : "0");'
_CHANGES = {
    'src/DistrhoPluginVST3.cpp': {
        '        // TODO process_mode can be V3_REALTIME, V3_PREFETCH, V3_OFFLINE\n':
            f'        {_OFFLINE.format("setup->process_mode == V3_OFFLINE")}\n',
        """    v3_result process(v3_process_data* const data)
    {
        DISTRHO_SAFE_ASSERT_RETURN(data->symbolic_sample_size == V3_SAMPLE_32, V3_INVALID_ARG);
""": f"""    int32_t fProcessMode = V3_REALTIME;  // of the last block: Ardour says it here and not before it processes

    v3_result process(v3_process_data* const data)
    {{
        DISTRHO_SAFE_ASSERT_RETURN(data->symbolic_sample_size == V3_SAMPLE_32, V3_INVALID_ARG);
        if (fProcessMode != data->process_mode)
        {{
            fProcessMode = data->process_mode;
            {_OFFLINE.format('fProcessMode == V3_OFFLINE')}
        }}
""",
        """                for (int32_t j = 0; j < data->outputs->num_channels; ++j)
                {
                    while (!fEnabledOutputs[i] && i < DISTRHO_PLUGIN_NUM_OUTPUTS)
                        outputs[i++] = fDummyAudioBuffer;

                    DISTRHO_SAFE_ASSERT_INT_BREAK(i < DISTRHO_PLUGIN_NUM_OUTPUTS, i);
                    outputs[i++] = data->outputs->channel_buffers_32[j];
                }
""": """                for (int32_t b = 0; b < data->num_output_buses && i < DISTRHO_PLUGIN_NUM_OUTPUTS; ++b)
                    for (int32_t j = 0; j < 2 && i < DISTRHO_PLUGIN_NUM_OUTPUTS; ++j, ++i)
                    {
                        const bool there = j < data->outputs[b].num_channels && data->outputs[b].channel_buffers_32;
                        float* const to = there ? data->outputs[b].channel_buffers_32[j] : nullptr;
                        outputs[i] = to != nullptr ? to : fDummyAudioBuffer;
                    }
""",
        """                const double ppqPos    = std::abs(ctx->project_time_quarters);
                const int    ppqPerBar = ctx->time_sig_numerator * 4 / ctx->time_sig_denom;
                const double barBeats  = (std::fmod(ppqPos, ppqPerBar) / ppqPerBar) * ctx->time_sig_numerator;
                const double rest      =  std::fmod(barBeats, 1.0);
""": """                // Ardour's bar line is that of the next bar in 4/4, and of none in another meter.
                const double ppqPos    = ctx->project_time_quarters;
                const double ppqPerBar = ctx->time_sig_numerator * 4.0 / ctx->time_sig_denom;
                const bool   line      = (ctx->state & V3_PROCESS_CTX_BAR_POSITION_VALID) != 0;
                const double told      = line ? ppqPos - ctx->bar_position_quarters : -1;
                const double place     = told >= 0 && told < ppqPerBar
                                       ? told : ppqPos - std::floor(ppqPos / ppqPerBar) * ppqPerBar;
                const double barBeats  = place / ppqPerBar * ctx->time_sig_numerator;
                const double rest      =  std::fmod(barBeats, 1.0);
""",
        """                if (ctx->project_time_quarters < 0.0)
                {
                    --fTimePosition.bbt.bar;
                    fTimePosition.bbt.beat = ctx->time_sig_numerator - fTimePosition.bbt.beat + 1;
                    fTimePosition.bbt.tick = fTimePosition.bbt.ticksPerBeat - fTimePosition.bbt.tick - 1;
                }
""": '',
    },
    'src/DistrhoPluginLV2.cpp': {
        '        float    barBeat;\n': '        double   barBeat;\n',
    },
    'src/DistrhoPluginCLAP.cpp': {
        """                if (transport->song_pos_beats >= 0)
                {
                    const int64_t clapPos   = std::abs(transport->song_pos_beats);
                    const int64_t clapBeats = clapPos >> 31;
                    const double  clapRest  = static_cast<double>(clapPos & 0x7fffffff) / CLAP_BEATTIME_FACTOR;

                    fTimePosition.bbt.bar  = static_cast<int32_t>(clapBeats) / transport->tsig_num + 1;
                    fTimePosition.bbt.beat = static_cast<int32_t>(clapBeats % transport->tsig_num) + 1;
                    fTimePosition.bbt.tick = clapRest * fTimePosition.bbt.ticksPerBeat;
                }
                else
                {
                    fTimePosition.bbt.bar  = 1;
                    fTimePosition.bbt.beat = 1;
                    fTimePosition.bbt.tick = 0.0;
                }
""": """                const double place = static_cast<double>(transport->song_pos_beats - transport->bar_start)
                                   / CLAP_BEATTIME_FACTOR * transport->tsig_denom / 4.0;
                fTimePosition.bbt.bar  = transport->bar_number + 1;
                fTimePosition.bbt.beat = static_cast<int32_t>(place) + 1;
                fTimePosition.bbt.tick = (place - static_cast<int32_t>(place)) * fTimePosition.bbt.ticksPerBeat;
""",
        '            fTimePosition.frame = process->steady_time >= 0 ? process->steady_time : 0;\n':
            """            fTimePosition.frame = (transport->flags & CLAP_TRANSPORT_HAS_SECONDS_TIMELINE)
                ? static_cast<int64_t>(static_cast<double>(transport->song_pos_seconds) / CLAP_SECTIME_FACTOR
                                       * fPlugin.getSampleRate() + 0.5)
                : process->steady_time >= 0 ? process->steady_time : 0;
""",
        'static CLAP_ABI const void* clap_plugin_get_extension(':
            """static CLAP_ABI bool clap_plugin_render_is_hard(const clap_plugin_t*) { return false; }
static CLAP_ABI bool clap_plugin_render_set(const clap_plugin_t* const plugin, const int32_t mode)
{
    static_cast<PluginCLAP*>(plugin->plugin_data)->setOffline(mode == 1);
    return true;
}
static const struct {
    bool (CLAP_ABI *has_hard_realtime_requirement)(const clap_plugin_t*);
    bool (CLAP_ABI *set)(const clap_plugin_t*, int32_t);
} clap_plugin_render = { clap_plugin_render_is_hard, clap_plugin_render_set };

static CLAP_ABI const void* clap_plugin_get_extension(""",
        '    if (std::strcmp(id, CLAP_EXT_PARAMS) == 0)\n        return &clap_plugin_params;\n':
            """    if (std::strcmp(id, CLAP_EXT_PARAMS) == 0)
        return &clap_plugin_params;
    if (std::strcmp(id, "clap.render") == 0)
        return &clap_plugin_render;
""",
        'fLastKnownLatency(0)': 'fLastKnownLatency(fPlugin.getLatency())',
        '        fPlugin.activate();\n    }\n\n    void deactivate()\n    {\n        fPlugin.deactivate();\n':
            f"""        fPlugin.activate();
        fLastKnownLatency = fPlugin.getLatency();
    }}

    void setOffline(const bool offline) {{ {_OFFLINE.format('offline')} }}

    void deactivate()
    {{
        fPlugin.deactivate();
""",
    },
}  # fmt: skip


def find_dpf() -> Path:
    """Return the folder of DPF; ``DPF_PATH`` names one elsewhere.

    Raises
    ------
    GenaudioError
        If there is none, or no compiler, with the packages to install.
    """
    if shutil.which('g++') is None:
        raise GenaudioError(f'There is no C++ compiler (g++) to build the plug-ins with. {ADVICE}')
    named = os.environ.get('DPF_PATH', '')
    for place in (named,) if named else ('/usr/share/dpf', '/usr/local/share/dpf'):
        if (Path(place) / 'distrho' / 'DistrhoPluginMain.cpp').is_file():
            return Path(place)
    raise GenaudioError(f'DPF, which the plug-ins are built with, is not at {named or "/usr/share/dpf"}. {ADVICE}')


def _fingerprint(dpf: Path) -> str:
    digest = hashlib.sha256(f'{FLAGS}{platform.machine()}{sys.version_info[:2]}'.encode())
    for path in [Path(__file__), *sorted(SOURCES.rglob('*')), *sorted((dpf / 'distrho').rglob('DistrhoPlugin*'))]:
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where what was built lies; ``GENAUDIO_PLUGIN_CACHE`` names another place."""
    import platformdirs

    return Path(os.environ.get('GENAUDIO_PLUGIN_CACHE') or Path(platformdirs.user_cache_dir('genaudio')) / 'plugins')


def build() -> Path:
    """Return the folder with the bundles of all plug-ins (.vst3, .clap, .lv2), building them if they are not there.

    A wheel that holds them built needs no compiler.

    Raises
    ------
    GenaudioError
        If something to build with is missing, or the compiler says no.
    """
    if os.name != 'posix' or sys.platform == 'darwin':
        raise GenaudioError('The plug-ins are built on Linux only, so far.')
    if (SHIPPED / 'complete').exists():
        return SHIPPED
    dpf = find_dpf()
    done = cache_folder() / _fingerprint(dpf)
    if (done / 'complete').exists():
        return done
    work = done.with_name(f'{done.name}.{os.getpid()}')
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        ours = _patched(dpf, work / 'dpf')
        jobs = _jobs(ours, work)
        with ThreadPoolExecutor(2) as pool, progress_bar('building the plug-ins', len(jobs)) as show:
            for number, _ in enumerate(pool.map(lambda job: _compile(*job), jobs), 1):
                show(number)
        for name in PLUGINS:
            _link(name, dpf, work)
        shutil.rmtree(work / 'dpf')
        shutil.rmtree(work / 'objects')
        (work / 'complete').touch()
        if not (done / 'complete').exists():
            shutil.rmtree(done, ignore_errors=True)
            work.rename(done)
        return done
    except OSError as error:
        if (done / 'complete').exists():  # somebody else was faster
            return done
        raise GenaudioError(f'The plug-ins cannot be built at {done.parent}: {error}.') from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _patched(dpf: Path, to: Path) -> Path:
    """A copy of DPF with what it leaves out."""
    shutil.copytree(dpf / 'distrho', to)
    for name, changes in _CHANGES.items():
        text = (to / name).read_text()
        for before, after in changes.items():
            if text.count(before) != 1:
                raise GenaudioError(f'DPF at {dpf} is another version than 1.6, which the plug-ins are built with.')
            text = text.replace(before, after)
        (to / name).write_text(text)
    return to


def _jobs(dpf: Path, work: Path) -> list[tuple[list[str], Path, Path]]:
    """The files to be compiled: (command without its object, object, the same object where it is kept)."""
    (work / 'objects').mkdir()
    theirs = hashlib.sha256(''.join(map(str, FLAGS)).encode())
    for path in sorted(dpf.rglob('*')):
        if path.is_file() and path.suffix in ('.cpp', '.hpp', '.h'):
            theirs.update(path.read_bytes())
    ours = theirs.copy()
    for path in sorted(SOURCES.rglob('*.?pp')):
        ours.update(path.read_bytes())
    jobs = []

    def add(name: str, source: Path, flags: list[str], *seen: bytes) -> None:
        key = hashlib.sha256(b'|'.join((f'{name} {[f for f in flags if f[:2] != "-I"]}'.encode(), *seen))).hexdigest()[
            :24
        ]
        command = ['g++', *FLAGS, *flags, '-c', str(source), '-o']
        jobs.append((command, work / 'objects' / f'{name}.o', cache_folder() / 'objects' / f'{key}.o'))

    for plugin in PLUGINS:
        include = [f'-I{dpf}', f'-I{dpf / "src"}', f'-I{SOURCES / plugin}']
        told = (SOURCES / plugin / 'DistrhoPluginInfo.h').read_bytes()
        for kind in FORMATS:
            target = f'-DDISTRHO_PLUGIN_TARGET_{kind}'
            add(f'{plugin}-{kind}', dpf / 'DistrhoPluginMain.cpp', [*include, target, '-O1'], theirs.digest(), told)
        for kind, more in (('own', []), ('own-LV2', ['-DGENAUDIO_LV2'])):
            source = SOURCES / plugin / f'{plugin.capitalize()}.cpp'
            add(f'{plugin}-{kind}', source, [*include, *more, '-O3'], ours.digest(), told)
    add('link', SOURCES / 'link.cpp', ['-O1'], ours.digest())
    return jobs


def _compile(command: list[str], made: Path, kept: Path) -> None:
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        _run([*command, str(made)])
        shutil.copy2(made, beside := kept.with_name(f'{kept.name}.{os.getpid()}'))
        beside.replace(kept)
    else:
        shutil.copy2(kept, made)


def _run(command: list[str]) -> None:
    done = run_program(command, timeout=600)
    if done.returncode:
        text = done.stderr.decode(errors='replace')
        errors = [line for line in text.splitlines() if 'error' in line or 'undefined' in line]
        raise GenaudioError(f'The compiler failed on the plug-ins: {errors[0] if errors else text[-300:]}')


def _link(plugin: str, dpf: Path, work: Path) -> None:
    """Make the three bundles of a plug-in in `work`."""
    name = f'genaudio-{plugin}'
    binaries = {
        'VST3': work / f'{name}.vst3' / 'Contents' / f'{platform.machine()}-linux' / f'{name}.so',
        'CLAP': work / f'{name}.clap',
        'LV2': work / f'{name}.lv2' / f'{name}.so',
    }
    objects = work / 'objects'
    for kind, binary in binaries.items():
        binary.parent.mkdir(parents=True, exist_ok=True)
        own = 'own-LV2' if kind == 'LV2' else 'own'
        parts = [objects / f'{plugin}-{kind}.o', objects / f'{plugin}-{own}.o', objects / 'link.o']
        version = dpf / 'utils' / 'symbols' / f'{FORMATS[kind]}.version'
        _run(['g++', '-shared', *map(str, parts), '-o', str(binary), '-pthread', '-ldl', '-lrt', '-Wl,--no-undefined',
              '-s', f'-Wl,--version-script={version}'])  # fmt: skip
    _describe(binaries['LV2'])


def _describe(binary: Path) -> None:
    """Write the turtle files of an LV2 bundle."""
    code = (
        'import ctypes, os, sys; os.chdir(sys.argv[1]); ctypes.CDLL(sys.argv[2]).lv2_generate_ttl(sys.argv[3].encode())'
    )
    _run([sys.executable, '-c', code, str(binary.parent), str(binary), binary.stem])
    for path in binary.parent.glob('*.ttl'):
        # Words that LV2 does not define are DPF's for other hosts than ours.
        text = _FOREIGN.sub('', path.read_text())
        symbol = '        lv2:symbol "freewheel" ;\n'
        path.write_text(text.replace(symbol, f'{symbol}        lv2:designation lv2:freeWheeling ;\n'))
