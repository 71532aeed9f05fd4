import subprocess
import sys


def test_the_room_is_light_until_a_name_is_touched():
    code = (
        "import sys, seqmem.models as m\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "assert 'SequenceLM' in dir(m)\n"
        "m.SequenceConfig\n"
        "from transformers import AutoConfig\n"
        "assert type(AutoConfig.for_model('seqmem', width=24)) is m.SequenceConfig\n"
        "try: m.Sequencer\n"
        "except AttributeError as e: assert 'Sequencer' in str(e)\n"
        "else: raise SystemExit('no AttributeError')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
