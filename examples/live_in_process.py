"""A live session without ports: keys go in as MIDI bytes from one thread, the band's notes come out of another in time.
Run: python examples/live_in_process.py answer.mid [SECONDS] [MODEL]  (MODEL 'rules' needs no model)"""

import sys
import threading

import bridge

TEMPO = 120.0  # BPM


def play_keys(band: bridge.InProcessBand, stop: threading.Event) -> None:
    """The player: a rising scale for two bars, then rest, as a keyboard's driver would hand it over."""
    for note in (60, 62, 64, 65, 67, 69, 71, 72):
        band.receive(bridge.note_on(0, note, 90))
        stop.wait(0.9 * 60 / TEMPO)
        band.receive(bridge.note_off(0, note))
        stop.wait(0.1 * 60 / TEMPO)


def main(target: str, seconds: str = '9', model: str = '') -> None:
    settings = {'music.model': model, 'transport.tempo': TEMPO}  # the first key starts the beat
    heard = []  # our end of the output port: called at the time of each message
    with bridge.InProcessBand(
        'duet', settings, real_time=True, on_send=lambda *sent: heard.append(sent), notify=print
    ) as band:
        begin, stop = band.now, threading.Event()
        keys = threading.Thread(target=play_keys, args=(band, stop))
        keys.start()
        band.run(float(seconds))
        stop.set()
        keys.join()
    band.score(TEMPO, start=begin).save(target)
    notes = [message for _, _, message in heard if message[0] & 0xF0 == 0x90]
    print(f'the band played {len(notes)} notes')


if __name__ == '__main__':
    main(*sys.argv[1:])
