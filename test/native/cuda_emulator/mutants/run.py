#!/usr/bin/env python3
"""Plants one bug at a time in a copy of the kernels and says how the tests find it.

usage: run.py BUILD [NAME...]    BUILD: where cuda_test and cuda_ops_test are built, by Ninja
"""
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
root = here.parents[3]
build = Path(sys.argv[1]).resolve()
names = sys.argv[2:]
programs = 'test/native/cuda_emulator'
commands = {c['file']: c for c in json.loads((build / 'compile_commands.json').read_text()) if 'heed_cuda_emulated.dir' in c['command']}


def link_of(program):
    path = f'{programs}/{program}'
    lines = subprocess.run(['ninja', '-C', build, '-t', 'commands', '-s', path], check=True, capture_output=True, text=True).stdout
    return [line for line in lines.splitlines() if f'-o {path}' in line][-1]


links = {program: link_of(program) for program in ('cuda_test', 'cuda_ops_test')}


def run(command, **options):
    return subprocess.run(command, shell=True, cwd=build, capture_output=True, text=True, **options)


def outcome(name, source, file, substitution, program, tests):
    folder = build / 'mutants' / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / 'native/cuda', folder / 'native/cuda')
    path = folder / 'native/cuda' / file
    before = path.read_text()
    subprocess.run(['perl', '-0pi', '-e', substitution, path], check=True)
    if path.read_text() == before:
        return 'NOT APPLIED'
    original = str(root / 'native/cuda' / f'{source}.cu')
    compile_command = commands[original]['command']
    object_file = re.search(r' -o (\S+)', compile_command)[1]
    mutant = folder / 'mutant.o'
    compile_command = compile_command.replace(object_file, str(mutant)).replace(original, str(folder / 'native/cuda' / f'{source}.cu'))
    # Its headers come before the unchanged ones, and after the emulator's.
    compile_command = compile_command.replace(f'-I{root} ', f'-I{folder} -I{root} ', 1)
    compiled = run(compile_command)
    if compiled.returncode != 0:
        return f'DOES NOT COMPILE {compiled.stderr[:500]}'
    executable = folder / 'tests'
    # First of the kernels: of an inline function that several objects have, the linker takes the first.
    link = links[program].replace(f' {object_file} ', ' ', 1).replace(f'-o {programs}/{program}', f'-o {shlex.quote(str(executable))}')
    link = re.sub(r'( \S*heed_cuda_emulated\.dir/)', rf' {mutant}\1', link, count=1)
    linked = run(link)
    if linked.returncode != 0:
        return f'DOES NOT LINK {linked.stderr[:500]}'
    try:
        ran = run(f'{shlex.quote(str(executable))} --gtest_brief=1 --gtest_fail_fast --gtest_filter={shlex.quote(tests)}', timeout=600)
    except subprocess.TimeoutExpired:
        return 'found: the tests do not end'
    finally:
        executable.unlink()
    said = re.search(r'with description "(.*)" thrown', ran.stdout)
    if said:
        return f'found: {said[1]}'
    return 'found: other values' if ran.returncode != 0 else 'NOT FOUND'


total = found = 0
for line in (here / 'list.tsv').read_text().splitlines():
    if not line or line.startswith('#'):
        continue
    fields = line.split('\t')
    if names and not any(fields[0].startswith(name) for name in names):
        continue
    result = outcome(*fields)
    total += 1
    found += result.startswith('found')
    print(f'{fields[0]}: {result}', flush=True)
print(f'{found} of {total} found')
sys.exit(found != total)
