/*
 * The compiled part of twisted-echo: what happens with each line, in C.
 *
 * The Python code is complete, and says what is right. These methods do the same for the
 * rule: an exact eager transport, with nothing that waits. All else they leave to the
 * methods that they replace. What a connection keeps is declared in Python, by
 * __slots__; here it is a struct, which prepare() checks. What must hold:
 *
 *   - bytes, calls, exceptions and attributes are those of the Python code;
 *   - what is kept is read anew after each call that may run Python code;
 *   - an error of the kernel is asked for once, since it reports some only once.
 *
 * No call waits, so the interpreter's lock is held throughout. hatch_build.py defines
 * SOURCE_DIGEST: the SHA-256 of this file, which choice.py compares.
 */

#include <Python.h>
#include <errno.h>
#include <sys/socket.h>

#define READ_MOST 65536 /* what Twisted's transports read at once */
#define MANY 16384 /* bytes that cost more to copy than memory of their own */
#define READABLE 1 /* EPOLLIN, and nothing else */

/* What a connection keeps, sorted as Python sorts __slots__; any of it may be NULL. */
#define SLOTS(X) \
    X(SEND_LIMIT) X(_sending) X(_tempDataBuffer) X(_tempDataLen) X(bufferSize) \
    X(bytesSent) X(connected) X(dataBuffer) X(disconnecting) X(producer) \
    X(producerPaused) X(protocol) X(socket)
#define FIELD(name) PyObject *name;

typedef struct { PyObject_HEAD SLOTS(FIELD) } Connection;

/* The names of what is looked up. */
#define NAMES(X) \
    SLOTS(X) X(_dataReceived) X(_metReset) X(dataReceived) X(doRead) X(join) \
    X(startWriting) X(stopGathering)
#define DECLARE(name) static PyObject *n_##name;
#define INTERN(name) if (!(n_##name = PyUnicode_InternFromString(#name))) return -1;
NAMES(DECLARE)

#if PY_VERSION_HEX >= 0x030C0000
#define _PyErr_ChainExceptions(type, value, traceback) \
    (Py_DECREF(type), Py_XDECREF(traceback), _PyErr_ChainExceptions1(value))
#endif

static PyObject *empty;
/* What prepare() is given, and what its methods replace. */
static PyObject *exact, *is_unchanged, *queued, *gathering, *lost;
static PyObject *do_read, *send_now, *write_to, *end_gathering;
static PyTypeObject *socket_type;

/* Call a method, with an argument or none. */
static PyObject *call(void *object, PyObject *name, PyObject *argument) {
    PyObject *all[] = {object, argument};
    return PyObject_VectorcallMethod(name, all, argument ? 2 : 1, NULL);
}

static int store(PyObject **field, PyObject *value) {
    if (value != NULL)
        Py_XSETREF(*field, value);
    return value ? 0 : -1;
}

/* A count, or -1 for anything that is none, or so large that a sum might overflow. */
static Py_ssize_t number_in(PyObject *field) {
    Py_ssize_t number = field && PyLong_CheckExact(field) ? PyLong_AsSsize_t(field) : -1;
    if (number == -1)
        PyErr_Clear();
    return number <= PY_SSIZE_T_MAX / 2 ? number : -1;
}

/* Whether a transport is of an exact type that nobody has changed: its slots are not
 * hidden, nor its methods replaced. (A type has another version after a change of its
 * attributes, or of a base's.) This may run Python code. */
static int is_plain(void *self) {
    static unsigned int versions[8], next;
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject *answer;
    for (int i = 0; i < 8; i++)
        if (versions[i] == type->tp_version_tag && versions[i])
            return 1;
    if (PySet_Contains(exact, (PyObject *)type) < 1)
        return 0;
    answer = PyObject_CallOneArg(is_unchanged, (PyObject *)type);
    if (answer == Py_True)
        versions[next++ % 8] = type->tp_version_tag;
    else if (answer == NULL)
        PyErr_WriteUnraisable(is_unchanged);
    Py_XDECREF(answer);
    return answer == Py_True;
}

/* How many pieces wait, if what a plain transport has written is a list; else -1. */
static Py_ssize_t count_pieces(Connection *self) {
    PyObject *pieces = self->_tempDataBuffer;
    return pieces && PyList_CheckExact(pieces) ? PyList_GET_SIZE(pieces) : -1;
}

/* The descriptor of a plain socket, or -1: where CPython keeps it, which prepare() has
 * checked. It is looked up each time. Once a socket is closed, another may have it. */
static int descriptor_of(PyObject *socket) {
    return socket && Py_IS_TYPE(socket, socket_type) ? *(int *)(socket + 1) : -1;
}

/* Send what was joined, which may have let other threads run: all else is read here. */
static PyObject *send_joined(Connection *self, PyObject *pieces, PyObject *data) {
    Py_ssize_t sent, size = PyBytes_GET_SIZE(data), sum = number_in(self->bytesSent);
    Py_ssize_t limit = number_in(self->SEND_LIMIT);
    int descriptor = descriptor_of(self->socket);
    if (descriptor < 0 || limit < 1 || sum < 0 || number_in(self->_tempDataLen) < 0
        || !self->producerPaused || !PyBool_Check(self->producerPaused))
        return PyObject_CallOneArg(send_now, (PyObject *)self);
    if (PyList_SetSlice(pieces, 0, PyList_GET_SIZE(pieces), NULL) < 0
        || store(&self->_tempDataLen, PyLong_FromLong(0)) < 0)
        return NULL;
    do sent = send(descriptor, PyBytes_AS_STRING(data), Py_MIN(size, limit), MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && PyObject_SetAttr((PyObject *)self, n__metReset,
                                     errno == EPIPE || errno == EWOULDBLOCK
                                     || errno == ENOBUFS ? Py_False : Py_True) < 0)
        return NULL;
    if (store(&self->bytesSent, PyLong_FromSsize_t(sum + (sent = Py_MAX(sent, 0)))) < 0)
        return NULL;
    if (sent < size)
        return PyObject_CallMethod((PyObject *)self, "_keepRest", "On", data, sent);
    return self->producerPaused == Py_False ? Py_NewRef(Py_None)
                                            : call(self, n_startWriting, NULL);
}

static PyObject *sendNow(Connection *self, PyObject *Py_UNUSED(none)) {
    PyObject *data, *pieces, *result;
    Py_ssize_t count = is_plain(self) ? count_pieces(self) : -1;
    /* To join or to drop anything else may run Python code. */
    for (Py_ssize_t i = 0; i < count; i++)
        if (!PyBytes_CheckExact(PyList_GET_ITEM(self->_tempDataBuffer, i)))
            count = -1;
    if (count < 1)
        return PyObject_CallOneArg(send_now, (PyObject *)self);
    pieces = Py_NewRef(self->_tempDataBuffer);
    data = count == 1 ? Py_NewRef(PyList_GET_ITEM(pieces, 0))
                      : call(empty, n_join, pieces);
    result = data ? send_joined(self, pieces, data) : NULL;
    Py_DECREF(pieces);
    Py_XDECREF(data);
    if (result) /* doRead returns it */
        Py_SETREF(result, Py_NewRef(Py_None));
    return result;
}

/* Hand on what was received when nothing waits, and send what that made be written. */
static PyObject *hand_on(Connection *self, PyObject *data) {
    PyObject *type, *value, *traceback, *result, *protocol = Py_NewRef(self->protocol);
    Py_ssize_t count;
    store(&self->_sending, Py_NewRef(gathering));
    result = call(protocol, n_dataReceived, data);
    Py_DECREF(protocol);
    if (result == NULL) {
        PyErr_Fetch(&type, &value, &traceback);
        Py_XDECREF(call(self, n_stopGathering, NULL));
        return _PyErr_ChainExceptions(type, value, traceback), NULL;
    }
    Py_DECREF(result);
    if (!is_plain(self) || self->_sending != gathering
        || (count = count_pieces(self)) < 0)
        return PyObject_CallOneArg(end_gathering, (PyObject *)self);
    store(&self->_sending, Py_NewRef(queued));
    return count ? sendNow(self, NULL) : Py_NewRef(Py_None);
}

static PyObject *doRead(Connection *self, PyObject *Py_UNUSED(none)) {
    static PyObject *buffer; /* bytes, which are handed on if they are many, or copied */
    Py_ssize_t most = is_plain(self) ? number_in(self->bufferSize) : -1;
    int descriptor = most > 0 && most <= READ_MOST ? descriptor_of(self->socket) : -1;
    PyObject *data, *why;
    ssize_t size;
    if (descriptor < 0)
        return PyObject_CallOneArg(do_read, (PyObject *)self);
    if (!buffer && !(buffer = PyBytes_FromStringAndSize(NULL, READ_MOST)))
        return NULL;
    do size = recv(descriptor, PyBytes_AS_STRING(buffer), most, MSG_DONTWAIT);
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return Py_NewRef(errno == EWOULDBLOCK ? Py_None : lost);
    if (size < MANY)
        data = PyBytes_FromStringAndSize(PyBytes_AS_STRING(buffer), size);
    else
        data = buffer, buffer = NULL, _PyBytes_Resize(&data, size);
    if (data == NULL)
        return NULL;
    why = size && self->_sending == queued && self->dataBuffer == empty
            && count_pieces(self) == 0 && self->protocol
        ? hand_on(self, data) : call(self, n__dataReceived, data);
    Py_DECREF(data);
    return why;
}

static PyObject *writePiece(Connection *self, PyObject *const *args, Py_ssize_t given,
                            PyObject *names) {
    PyObject *method, *result;
    if (given == 1 && !names && PyBytes_CheckExact(args[0]) && is_plain(self)
        && count_pieces(self) >= 0 && self->_sending == gathering && self->producer) {
        int isCounted = self->producer != Py_None;
        Py_ssize_t before = isCounted ? number_in(self->_tempDataLen) : 0;
        Py_ssize_t size = before + PyBytes_GET_SIZE(args[0]);
        if (!isCounted || (before >= 0 && size <= number_in(self->bufferSize)))
            return PyList_Append(self->_tempDataBuffer, args[0]) < 0
                || (isCounted && store(&self->_tempDataLen, PyLong_FromSsize_t(size)) < 0)
                ? NULL : Py_NewRef(Py_None);
    }
    method = PyMethod_New(write_to, (PyObject *)self);
    result = method ? PyObject_Vectorcall(method, args, given, names) : NULL;
    Py_XDECREF(method);
    return result;
}

/* Read from exact transports, until an event, or what doRead returns, is for others.
 * Return that event, whose it is, and what doRead has returned; None at the end. */
static PyObject *readReady(PyObject *Py_UNUSED(module), PyObject *const *args,
                           Py_ssize_t given) {
    PyObject *pair;
    Py_ssize_t top = given == 4 && PyList_Check(args[1]) ? PyList_GET_SIZE(args[1]) - 1 : -1;
    if (top < 0 || !PyIter_Check(args[0]))
        return PyErr_BadArgument(), NULL;
    while (!PyErr_Occurred() && (pair = PyIter_Next(args[0])) != NULL) {
        PyObject *fd = PyTuple_GetItem(pair, 0), *event = PyTuple_GetItem(pair, 1);
        PyObject *found = event ? PyDict_GetItemWithError(args[2], fd) : NULL;
        PyObject *before = found ? PyDict_GetItemWithError(args[3], fd) : NULL;
        if (found && (before == NULL || before == found)) {
            PyObject *why;
            Py_INCREF(found);
            if (PyLong_AsLong(event) != READABLE || !(
                    is_plain(found) || PySet_Contains(exact, (PyObject *)Py_TYPE(found))))
                return Py_BuildValue("(NNO)", pair, found, Py_None);
            why = PyList_SetItem(args[1], top, Py_NewRef(found)) < 0 ? NULL
                : call(found, n_doRead, NULL);
            if (why && why != Py_None)
                return Py_BuildValue("(NNN)", pair, found, why);
            Py_XDECREF(why);
            Py_DECREF(found);
        }
        Py_DECREF(pair);
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {
    {"doRead", (PyCFunction)doRead, METH_NOARGS, "doRead($self)\n--\n\n"},
    {"sendNow", (PyCFunction)sendNow, METH_NOARGS, "sendNow($self)\n--\n\n"},
    {"write", (PyCFunction)(void (*)(void))writePiece, METH_FASTCALL | METH_KEYWORDS,
     "write($self, data)\n--\n\n"},
};

/* Say what the Python code has. Check the struct, and where a socket has its descriptor.
 * Return the methods for the classes whose methods they replace, for good. */
static PyObject *prepare(PyObject *Py_UNUSED(module), PyObject *args) {
    PyTypeObject *base, *reading, *writing;
    PyObject *socket, *probe;
    if (is_unchanged) /* connections rely on it */
        return PyErr_SetString(PyExc_ImportError, "other classes use it already"), NULL;
    Py_INCREF(args); /* which keeps what it has */
    if (!PyArg_ParseTuple(args, "O!OO!OO!OOOOOOOO!", &PyType_Type, &base, &socket,
                          &PyType_Type, &reading, &do_read, &PyType_Type, &writing,
                          &send_now, &write_to, &end_gathering, &queued, &gathering, &lost,
                          &is_unchanged, &PyFrozenSet_Type, &exact)
        || !(probe = PyObject_CallNoArgs((PyObject *)base)))
        return NULL;
    socket_type = Py_TYPE(socket);
#define CHECK(name) \
    || PyObject_SetAttr(probe, n_##name, n_##name) || ((Connection *)probe)->name != n_##name
    if (base->tp_basicsize != sizeof(Connection) SLOTS(CHECK)
        || descriptor_of(socket) != PyObject_AsFileDescriptor(socket))
        return PyErr_SetString(PyExc_ImportError, "it does not suit this Python"), NULL;
    Py_DECREF(probe);
    return Py_BuildValue("(NNN)", PyDescr_NewMethod(reading, &methods[0]),
                         PyDescr_NewMethod(writing, &methods[1]),
                         PyDescr_NewMethod(writing, &methods[2]));
}

static PyMethodDef functions[] = {
    {"prepare", prepare, METH_VARARGS, NULL},
    {"readReady", (PyCFunction)(void (*)(void))readReady, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL}};

static int execute(PyObject *module) {
    if (PyInterpreterState_Get() != PyInterpreterState_Main())
        return PyErr_SetString(PyExc_ImportError, "it is for the main interpreter"), -1;
    NAMES(INTERN)
    if (!(exact || (exact = PyFrozenSet_New(NULL)))
        || !(empty = PyBytes_FromStringAndSize(NULL, 0)))
        return -1;
    return PyModule_AddStringConstant(module, "SOURCE_DIGEST", SOURCE_DIGEST);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "speedups", .m_methods = functions, .m_slots = slots};

PyMODINIT_FUNC PyInit_speedups(void) { return PyModuleDef_Init(&definition); }
