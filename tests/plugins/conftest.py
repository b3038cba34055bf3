"""Plug-ins built with -ffast-math switch off subnormal numbers for the whole process: after each test they are back."""

import ctypes
import ctypes.util
import platform

import pytest

DEFAULT = ctypes.c_void_p(-1)  # FE_DFL_ENV of glibc on x86-64


@pytest.fixture(autouse=True)
def subnormal_numbers_come_back():
    yield
    if platform.libc_ver()[0] == 'glibc' and platform.machine() == 'x86_64':
        assert ctypes.CDLL(ctypes.util.find_library('m')).fesetenv(DEFAULT) == 0
