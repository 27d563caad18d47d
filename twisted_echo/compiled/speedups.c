/*
 * The compiled part of twisted-echo.
 *
 * hatch_build.py builds it, and defines SOURCE_DIGEST: the SHA-256 of this file, which
 * choice.py compares.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifdef Py_GIL_DISABLED
#error "this relies on the interpreter's lock, which a free-threaded Python lacks"
#endif

static PyObject *
trivial(PyObject *module, PyObject *unused)
{
    return PyLong_FromLong(1);
}

static PyMethodDef functions[] = {
    {"trivial", trivial, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int
execute(PyObject *module)
{
    return PyModule_AddStringConstant(module, "SOURCE_DIGEST", SOURCE_DIGEST);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "speedups",
    .m_size = 0,
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_speedups(void)
{
    return PyModuleDef_Init(&definition);
}
