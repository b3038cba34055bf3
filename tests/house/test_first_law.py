"""The first law, fault by fault: what once hung a note, popped or lost what is a user's, and the test that sees it.

FAULTS are those that a reading of the whole program found; FILES, SOUNDS and LIVE are small inputs after what people
reported of programs like this one. Here is checked that each has its tests, and that they are there under these names.
"""

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent

FAULTS = {
    'the decoder writes into memory that is freed': [
        'inference/test_decoder_memory::test_every_bound_array_lives_as_long_as_the_buffers'
    ],
    'a wrong OSC message ends the MIDI process': [
        'live/test_live_signals::test_wrong_osc_costs_a_line_and_never_a_process'
    ],
    'keys of a lost input hang, its pedal stays down': [
        'midi/test_note_owners::test_an_input_that_is_lost_ends_its_notes_and_no_others',
        'midi/test_note_owners::test_a_lost_input_takes_its_pedal_with_it',
    ],
    'thru switched off under a key': ['midi/test_note_owners::test_switched_off_by_any_way_it_ends_what_it_held'],
    'NaN as a flag between threads': [
        'audio/test_audio_core::test_timing_set_while_the_callback_runs_never_makes_a_number_that_is_none',
        'audio/test_audio_core::test_over_a_second_of_nan_is_over_when_it_is_over',
    ],
    'an output that is back sounds on': [
        'midi/test_wire::test_a_cable_that_jack_shows_too_soon_or_too_long_loses_no_note_off',
        'midi/test_note_owners::test_one_that_is_back_gets_the_note_offs_it_missed_and_its_programs',
        'midi/test_wire::test_a_note_off_that_the_port_missed_is_sent_when_it_is_back',
    ],
    'a file is written by the loop that plays': ['band/test_controls::test_the_session_writes_no_file_itself'],
    'an exception ends the sender; more outputs than its table has': [
        'midi/test_wire::test_the_thread_survives_a_fault_and_says_so',
        'midi/test_wire::test_outputs_beyond_the_table_are_never_written_into_it',
        'midi/test_note_owners::test_more_than_there_can_be_are_refused_in_the_preset',
    ],
    'messages to an output that is not there pile up': [
        'midi/test_wire::test_messages_to_an_output_that_jack_lacks_do_not_pile_up',
        'band/test_controls::test_a_reload_cannot_name_an_output_that_is_not_open',
    ],
    'the property of the law cannot fail': ['midi/test_never_hangs::test_the_property_fails_when_ends_are_sabotaged'],
    'the audio callback shares its interpreter': [
        'audio/test_audio_core::test_the_callbacks_process_loads_no_network_no_plugin_and_no_reader_of_files'
    ],
    'a reload loses the latency of the instrument': [
        'live/test_live_reload::test_the_delay_of_the_instrument_is_still_made_up_for_after_a_reload'
    ],
    'the second of two lines waits': ['system/test_lines::test_two_lines_that_arrive_together_are_both_obeyed'],
    'what needs a restart is set while it plays': [
        'band/test_controls::test_what_needs_a_restart_is_refused_while_the_music_plays'
    ],
    'a late end cuts the next strike': ['midi/test_note_owners::test_a_late_end_never_cuts_the_next_strike'],
    'a crash between two files of a save': [
        'export/test_export_numbers::test_a_crash_between_the_files_of_a_save_leaves_the_weights_of_its_step',
        'training/test_loop::test_a_save_of_two_steps_is_refused',
    ],
    'numbers that make no sense on the command line': [
        'commands/test_generating_commands::test_a_number_that_makes_no_sense_is_one_line',
        'commands/test_command_numbers::test_a_number_out_of_range_is_one_line_everywhere',
    ],
    'an arrow key turns a setting': ['live/test_view_keys::test_a_sequence_is_no_keys'],
    'quick OSC messages change places': ['live/test_osc::test_quick_messages_keep_their_order'],
    'sources of an export are kept by hand': [
        'export/test_export_numbers::test_what_an_export_imports_is_among_its_sources',
        'export/test_export_numbers::test_what_is_baked_into_a_graph_is_a_source_of_it',
    ],
    'a worker that hangs is not found': [
        'stems/test_audio_host::test_a_worker_that_hangs_is_found_ended_and_replaced_with_one_line',
        'stems/test_audio_host::test_a_worker_that_hangs_while_it_loads_is_found_too',
    ],
    'a delta that looks like a key signature is edited': [
        'score/test_smf::test_a_delta_that_looks_like_a_key_signature_is_a_delta'
    ],
    'the tempo map is walked for every note': [
        'score/test_files_pass_through::test_seconds_are_found_without_walking_the_tempo_map'
    ],
    'an error is told by a phrase in its text': [
        'stems/test_isolate_lookup::test_a_missing_encoder_is_known_by_its_kind_and_not_by_its_words'
    ],
    'rings where stores may be seen in another order': [
        'audio/test_rings::test_another_process_reads_what_is_written_while_it_is_written'
    ],
    "JACK's time leaps when its server goes": ['midi/test_jack_restart::test_bridge_time_outlives_the_server'],
    'counted and never shown': ['live/test_view::test_what_goes_wrong_is_counted_where_the_player_sees_it'],
    'never joined or closed': [
        'band/test_model_musician::test_closing_ends_the_rebase_that_runs',
        'band/test_model_musician::test_a_rebase_that_fails_is_counted_and_tried_again',
        'transport/test_leader_choice::test_a_leader_is_closed_when_it_is_let_go',
        'stems/test_isolate_faults::test_a_server_that_goes_and_comes_back_again_and_again_leaks_nothing',
    ],
    'comments that lie, names that nobody uses': [
        'house/test_first_law::test_what_was_said_and_not_so_is_not_said_again'
    ],
    'objects made by reaching into them': ['house/test_first_law::test_no_object_is_made_by_reaching_into_it'],
}
FILES = {
    'pedal-own-track.mid': [
        'score/test_files_pass_through::test_everything_that_came_in_goes_out_in_its_place',
        'score/test_smf::test_the_pedal_of_a_track_of_its_own_belongs_to_the_notes_of_its_channel',
    ],
    'utf8-words.mid': ['score/test_smf::test_every_event_comes_out_as_it_went_in'],
    'program-later.mid': ['score/test_smf::test_a_program_acts_from_where_it_stands'],
    'two-ports.mid': ['score/test_smf::test_a_port_is_sixteen_channels_of_its_own'],
    'bank-select.mid': [
        'score/test_files_pass_through::test_a_bank_is_chosen_before_its_program_in_new_files_too',
        'score/test_files_pass_through::test_everything_that_came_in_goes_out_in_its_place',
    ],
    'alien-chunk.mid, more-tracks-than-promised.mid, short-meta.mid': ['score/test_smf::test_odd_files_lose_no_note'],
    'all-notes-off.mid': ['score/test_smf::test_all_notes_off_ends_the_notes_of_its_channel'],
    'meter-nonsense.mid': ['score/test_smf::test_odd_files_lose_no_note'],
    'piano-chords.mid': ['score/test_files_pass_through::test_a_part_that_plays_nothing_is_told'],
    'plain.mid: --seed -1': ['commands/test_generating_commands::test_a_number_that_makes_no_sense_is_one_line'],
    'plain.mid: -o x.wav': ['commands/test_generating_commands::test_an_impossible_output_is_told_before_any_work'],
    'plain.mid: -o -': ['score/test_files_pass_through::test_the_file_goes_to_stdout_and_every_word_to_stderr'],
}
LIVE = {
    'always-on-clock': [
        'transport/test_leader_choice::test_after_start_the_band_plays_as_if_the_clock_had_been_silent'
    ],
    'continue-after-idle-clock': ['transport/test_leader_choice::test_continue_goes_on_at_the_place_of_the_stop'],
    'port-lost-in-arrange': ['midi/test_note_owners::test_an_input_that_is_lost_ends_its_notes_and_no_others'],
    'pedal-down-as-the-port-goes': ['midi/test_note_owners::test_a_lost_input_takes_its_pedal_with_it'],
    'position-while-rolling': ['transport/test_leader_choice::test_one_that_says_where_we_are_interrupts_nothing'],
    'two-clocks': ['transport/test_leader_choice::test_the_first_leads_and_one_line_says_so'],
    'pedal-in-arrange': ['midi/test_note_owners::test_arranged_notes_sound_until_it_lifts'],
}
SOUNDS = {
    'piped.wav, speech.wav, recorder-died.wav': [
        'sound/test_audio_containers::test_a_wav_whose_length_was_never_filled_in_is_read_to_its_end'
    ],
    'part.wav': [
        'sound/test_audio_containers::test_a_wav_that_is_shorter_than_it_says_is_told',
        'commands/test_separate_command::test_a_file_cut_short_is_separated_as_far_as_it_goes_and_told',
    ],
    'part.mp3': ['sound/test_audio_containers::test_a_cut_mp3_is_told'],
    'no-header.mp3': ['sound/test_audio_containers::test_a_vbr_mp3_without_a_header_is_read_to_its_end'],
    'click.mp3': ['sound/test_audio_containers::test_an_mp3_begins_and_ends_where_its_sound_did'],
    '20-bit.wav': [
        'sound/test_audio_containers::test_odd_bit_depths_are_read',
        'commands/test_separate_command::test_a_file_that_a_library_cannot_stand_costs_no_other',
    ],
    'later/': ['commands/test_separate_command::test_no_input_is_overwritten_by_the_stem_of_another'],
    'names/': ['commands/test_separate_command::test_names_that_are_too_long_are_shortened'],
    'loud.wav': ['commands/test_separate_command::test_a_stem_that_is_clipped_is_told'],
    'side.wav': ['query/test_query::test_an_example_out_of_phase_is_heard_as_in_phase'],
    'ten-minutes.wav': [
        'query/test_query::test_a_long_example_is_listened_to_in_its_loudest_windows_whatever_its_blocks',
        'separation/test_separation::test_memory_does_not_grow',
    ],
    '808 bass': ['query/test_query::test_parse'],
    '-0.5 violin': ['query/test_query::test_a_weight_below_zero_is_refused_or_taken_as_leaving_out'],
    'SIGTERM': ['commands/test_separate_command::test_a_signal_leaves_no_half_written_file'],
    'nan.safetensors': [
        'export/test_export_numbers::test_weights_that_are_no_numbers_are_not_exported',
        'export/test_export_numbers::test_outputs_that_are_no_numbers_are_no_parity',
    ],
    'long-effect.csv': ['script/test_compose::test_an_effect_may_have_any_length_that_a_row_may_have'],
    'm4a.csv': ['script/test_audio_script::test_a_recording_of_a_kind_that_is_not_read_is_no_text'],
    'two-columns.csv': ['script/test_audio_script::test_two_columns_for_one_thing_are_told'],
    'speech.csv': ['sound/test_audio_containers::test_a_wav_whose_length_was_never_filled_in_is_read_to_its_end'],
    'JACK name of 64 letters': ['stems/test_audio_jack::test_a_name_too_long_for_jack_is_shortened'],
    'blocks-of-8192': ['stems/test_audio_host::test_the_worker_works_at_any_block_size'],
    'margin-nan': ['stems/test_audio_host::test_a_margin_that_cannot_be_is_one_line'],
    'pad 20-bit.wav': [
        'pads/test_pad_faults::test_files_of_any_depth_are_read',
        'pads/test_pads::test_a_bad_file_costs_a_line_and_however_it_is_ended_what_sounds_fades_out',
    ],
    'plug-in-dies-loading': [
        'plugins/test_plugin_faults::test_a_plugin_that_dies_or_hangs_while_it_is_loaded_is_left_out'
    ],
}


@functools.cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / f'{file}.py').read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_no_fault_is_left_out():
    assert (len(FAULTS), len(FILES), len(LIVE), len(SOUNDS)) == (30, 12, 7, 24)


@pytest.mark.parametrize(
    'promise', [*FAULTS.items(), *FILES.items(), *LIVE.items(), *SOUNDS.items()], ids=lambda p: p[0]
)
def test_each_fault_has_the_test_that_is_named_for_it(promise):
    what, names = promise
    assert names, what
    for name in names:
        file, _, test = name.partition('::')
        assert test in names_in(file), f'{what}: there is no {name} any more; name the test that sees this fault now'


def sources() -> dict[Path, str]:
    return {
        path: path.read_text() for room in ('bridge', 'genaudio_core', 'export') for path in (ROOT / room).rglob('*.py')
    }


def test_what_was_said_and_not_so_is_not_said_again():
    gone = {
        'midi/messages.py': 'bytes kept of a system exclusive message', 'band/scheduler.py': 'self._cut',
        'live/session.py': 'self.margins',
    }  # fmt: skip
    assert [path for path, words in gone.items() if words in (ROOT / 'bridge' / path).read_text()] == []


def test_no_object_is_made_by_reaching_into_it():
    reaching = re.compile(r'\.__dict__\.update|self\.__init__\(')
    assert [str(path) for path, text in sources().items() if reaching.search(text)] == []
