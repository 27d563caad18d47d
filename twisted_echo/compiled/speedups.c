/*
 * The compiled part of twisted-echo: what happens with each line, in C.
 *
 * The Python code is complete, and says what is right. These functions do the same for
 * the rule: an exact eager transport, with nothing that waits. All else they leave to
 * the Python methods. What a connection keeps is declared in Python, by __slots__, so
 * that both see the same attributes; here it is a struct, which prepare() checks.
 *
 * What must hold:
 *
 *   - bytes, calls, exceptions and attributes are those of the Python code;
 *   - what is kept is read anew after each call that may run Python code;
 *   - an error of the kernel is asked for once, since it reports some only once.
 *
 * No call waits, so the interpreter's lock is held throughout. hatch_build.py defines
 * SOURCE_DIGEST: the SHA-256 of this file, which choice.py compares.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <sys/socket.h>

#ifdef Py_GIL_DISABLED
#error "this relies on the interpreter's lock, which a free-threaded Python lacks"
#endif

#define READ_MOST 65536 /* what Twisted's transports read at once */
#define COPY_MOST 4096 /* a smaller read is copied out of the buffer it came into */
#define READABLE 1 /* EPOLLIN, and nothing else */

/* What a connection keeps, sorted as Python sorts __slots__; any of it may be NULL. */
#define SLOTS(X) \
    X(SEND_LIMIT) X(_sending) X(_tempDataBuffer) X(_tempDataLen) X(bufferSize) \
    X(bytesSent) X(connected) X(dataBuffer) X(disconnecting) X(producer) \
    X(producerPaused) X(protocol) X(socket)
#define FIELD(name) PyObject *name;

typedef struct {
    PyObject_HEAD
    SLOTS(FIELD)
} Connection;

/* The names of what is looked up. */
#define NAMES(X) \
    SLOTS(X) X(_dataReceived) X(_maybePauseProducer) X(_metReset) X(dataReceived) \
    X(doRead) X(join) X(startWriting) X(stopGathering)
#define DECLARE(name) static PyObject *n_##name;
#define INTERN(name) if (!(n_##name = PyUnicode_InternFromString(#name))) return -1;
NAMES(DECLARE)

static PyObject *empty;
/* What prepare() is given. */
static PyObject *exact_types, *queued, *gathering, *lost, *do_read, *send_now, *write_to;
static PyTypeObject *socket_type;

/* Call a method, with an argument or none. */
static PyObject *call(void *object, PyObject *name, PyObject *argument) {
    PyObject *all[] = {object, argument};
    return PyObject_VectorcallMethod(name, all, argument ? 2 : 1, NULL);
}

static int store(PyObject **field, PyObject *value) {
    PyObject *before = *field;
    if (value == NULL)
        return -1;
    *field = value;
    Py_XDECREF(before);
    return 0;
}

/* A count, or -1 for anything that is none, or so large that a sum might overflow. */
static Py_ssize_t number_in(PyObject *field) {
    Py_ssize_t number = field && PyLong_CheckExact(field) ? PyLong_AsSsize_t(field) : -1;
    if (number == -1)
        PyErr_Clear();
    return number <= PY_SSIZE_T_MAX / 2 ? number : -1;
}

static int is_exact(void *object) {
    PyObject *type = (PyObject *)Py_TYPE((PyObject *)object);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(exact_types); i++)
        if (PyTuple_GET_ITEM(exact_types, i) == type)
            return 1;
    return 0;
}

/* How many pieces have been written to a plain transport; -1 for any other. */
static Py_ssize_t count_pieces(Connection *self) {
    PyObject *pieces = self->_tempDataBuffer;
    return pieces && PyList_CheckExact(pieces) && is_exact(self)
        ? PyList_GET_SIZE(pieces) : -1;
}

/* The descriptor of a plain socket, or -1: where CPython keeps it, which prepare() has
 * checked. It is looked up each time. Once a socket is closed, another may have it. */
static int descriptor_of(PyObject *socket) {
    return socket && Py_IS_TYPE(socket, socket_type) ? *(int *)(socket + 1) : -1;
}

/* Receive bytes. NULL without an exception: errno tells. */
static PyObject *receive(int descriptor, Py_ssize_t most) {
    static PyObject *buffer; /* of READ_MOST bytes, which nobody else has */
    PyObject *data;
    ssize_t size;
    if (buffer == NULL && !(buffer = PyBytes_FromStringAndSize(NULL, READ_MOST)))
        return NULL;
    do size = recv(descriptor, PyBytes_AS_STRING(buffer), most, MSG_DONTWAIT);
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return NULL;
    if (size <= COPY_MOST)
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(buffer), size);
    data = buffer;
    buffer = NULL;
    _PyBytes_Resize(&data, size);
    return data;
}

static PyObject *sendNow(Connection *self, PyObject *Py_UNUSED(none)) {
    PyObject *data, *pieces, *result = NULL;
    Py_ssize_t size, limit, sum, count = count_pieces(self);
    ssize_t sent;
    int descriptor;
    /* To join or to drop anything else may run Python code. */
    for (Py_ssize_t i = 0; i < count; i++)
        if (!PyBytes_CheckExact(PyList_GET_ITEM(self->_tempDataBuffer, i)))
            count = -1;
    if (count < 1)
        return PyObject_CallOneArg(send_now, (PyObject *)self);
    pieces = Py_NewRef(self->_tempDataBuffer);
    data = count == 1 ? Py_NewRef(PyList_GET_ITEM(pieces, 0))
                      : call(empty, n_join, pieces);
    if (data == NULL)
        goto end;
    /* A long join lets other threads run. So the rest is read after it. */
    descriptor = descriptor_of(self->socket);
    limit = number_in(self->SEND_LIMIT);
    sum = number_in(self->bytesSent);
    if (descriptor < 0 || limit < 1 || sum < 0 || number_in(self->_tempDataLen) < 0) {
        result = PyObject_CallOneArg(send_now, (PyObject *)self);
        goto end;
    }
    if (PyList_SetSlice(pieces, 0, count, NULL) < 0
        || store(&self->_tempDataLen, PyLong_FromLong(0)) < 0)
        goto end;
    size = PyBytes_GET_SIZE(data);
    do
        sent = send(descriptor, PyBytes_AS_STRING(data), size < limit ? size : limit,
                    MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        int isReset = errno != EPIPE && errno != EWOULDBLOCK && errno != ENOBUFS;
        sent = 0;
        if (PyObject_SetAttr((PyObject *)self, n__metReset,
                             isReset ? Py_True : Py_False) < 0)
            goto end;
    }
    if (store(&self->bytesSent, PyLong_FromSsize_t(sum + sent)) < 0)
        goto end;
    if (sent < size)
        result = PyObject_CallMethod((PyObject *)self, "_keepRest", "On", data,
                                     (Py_ssize_t)sent);
    else if (self->producerPaused == Py_False)
        result = Py_NewRef(Py_None);
    else
        result = call(self, n_startWriting, NULL);
end:
    Py_DECREF(pieces);
    Py_XDECREF(data);
    return result;
}

/* Hand on what was received when nothing waits, and send what that made be written. */
static PyObject *hand_on(Connection *self, PyObject *data) {
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *type, *value, *traceback, *result;
    store(&self->_sending, Py_NewRef(gathering));
    result = call(protocol, n_dataReceived, data);
    Py_DECREF(protocol);
    if (result == NULL) {
        PyErr_Fetch(&type, &value, &traceback);
        if ((result = call(self, n_stopGathering, NULL)) != NULL) {
            PyErr_Restore(type, value, traceback);
            type = value = traceback = NULL;
        }
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        Py_CLEAR(result);
        return NULL;
    }
    Py_DECREF(result);
    if (self->_sending != gathering)
        return Py_NewRef(Py_None);
    store(&self->_sending, Py_NewRef(queued));
    return count_pieces(self) ? sendNow(self, NULL) : Py_NewRef(Py_None);
}

static PyObject *doRead(Connection *self, PyObject *Py_UNUSED(none)) {
    int descriptor = descriptor_of(self->socket);
    Py_ssize_t most = number_in(self->bufferSize);
    PyObject *data, *why;
    if (descriptor < 0 || most < 1 || most > READ_MOST || !is_exact(self))
        return PyObject_CallOneArg(do_read, (PyObject *)self);
    data = receive(descriptor, most);
    if (data == NULL)
        return PyErr_Occurred() ? NULL : Py_NewRef(errno == EWOULDBLOCK ? Py_None : lost);
    if (PyBytes_GET_SIZE(data) && self->_sending == queued && self->dataBuffer == empty
        && count_pieces(self) == 0 && self->protocol)
        why = hand_on(self, data);
    else
        why = call(self, n__dataReceived, data);
    Py_DECREF(data);
    return why;
}

static PyObject *writePiece(Connection *self, PyObject *data) {
    Py_ssize_t size;
    if (self->_sending != gathering || !PyBytes_CheckExact(data)
        || count_pieces(self) < 0 || self->producer == NULL)
        return PyObject_CallFunctionObjArgs(write_to, self, data, NULL);
    if (PyList_Append(self->_tempDataBuffer, data) < 0)
        return NULL;
    if (self->producer != Py_None) {
        size = number_in(self->_tempDataLen) + PyBytes_GET_SIZE(data);
        if (store(&self->_tempDataLen, PyLong_FromSsize_t(size)) < 0)
            return NULL;
        if (size > number_in(self->bufferSize))
            return call(self, n__maybePauseProducer, NULL);
    }
    return Py_NewRef(Py_None);
}

/* Read from exact transports, until an event, or what doRead returns, is for others.
 * Return that event, whose it is, and what doRead has returned; None at the end. */
static PyObject *readReady(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *events, *contexts, *selectables, *removed, *pair, *why;
    Py_ssize_t top;
    if (!PyArg_UnpackTuple(args, "readReady", 4, 4, &events, &contexts, &selectables,
                           &removed) || (top = PyList_Size(contexts)) < 0)
        return NULL;
    while ((pair = PyIter_Next(events)) != NULL) {
        PyObject *fd = PyTuple_GetItem(pair, 0), *event = PyTuple_GetItem(pair, 1);
        PyObject *found = event ? PyDict_GetItemWithError(selectables, fd) : NULL;
        PyObject *before = found ? PyDict_GetItemWithError(removed, fd) : NULL;
        int isPlain;
        if (found == NULL || (before && before != found)) {
            Py_DECREF(pair);
            if (PyErr_Occurred())
                return NULL;
            continue;
        }
        Py_INCREF(found);
        isPlain = is_exact(found) && PyLong_AsLong(event) == READABLE;
        why = isPlain ? NULL : Py_NewRef(Py_None);
        if (isPlain && PyList_SetItem(contexts, top - 1, Py_NewRef(found)) == 0)
            why = call(found, n_doRead, NULL);
        if (why && (!isPlain || why != Py_None))
            return Py_BuildValue("(NNN)", pair, found, why);
        Py_XDECREF(why);
        Py_DECREF(found);
        Py_DECREF(pair);
        if (why == NULL)
            return NULL;
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {
    {"doRead", (PyCFunction)doRead, METH_NOARGS, NULL},
    {"sendNow", (PyCFunction)sendNow, METH_NOARGS, NULL},
    {"write", (PyCFunction)writePiece, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* Check that a struct, and where a socket has its descriptor, are what is said here. */
static int check(PyTypeObject *base, PyObject *socket) {
    PyObject *probe = PyObject_CallNoArgs((PyObject *)base);
    PyTypeObject *before = socket_type;
    int isRight = probe != NULL && base->tp_basicsize == sizeof(Connection);
#define CHECK(name) \
    if (isRight) \
        isRight = PyObject_SetAttr(probe, n_##name, n_##name) == 0 \
            && ((Connection *)probe)->name == n_##name;
    SLOTS(CHECK)
    Py_XDECREF(probe);
    socket_type = Py_TYPE(socket);
    if (isRight && descriptor_of(socket) == PyObject_AsFileDescriptor(socket))
        return 0;
    socket_type = before;
    PyErr_SetString(PyExc_ImportError, "it does not suit this Python");
    return -1;
}

/* Say what the Python code has, and give the base of its transports their methods. */
static PyObject *prepare(PyObject *Py_UNUSED(module), PyObject *args) {
    PyTypeObject *base;
    PyObject *socket, *all[7], *method;
    if (!PyArg_ParseTuple(args, "O!OO!OOOOOO", &PyType_Type, &base, &socket, &PyTuple_Type,
                          &all[0], &all[1], &all[2], &all[3], &all[4], &all[5], &all[6])
        || check(base, socket) < 0)
        return NULL;
    Py_INCREF(args); /* which keeps them, for good */
    exact_types = all[0], queued = all[1], gathering = all[2], lost = all[3];
    do_read = all[4], send_now = all[5], write_to = all[6];
    for (PyMethodDef *each = methods; each->ml_name; each++) {
        method = PyDescr_NewMethod(base, each);
        if (!method || PyObject_SetAttrString((PyObject *)base, each->ml_name, method) < 0)
            return NULL;
        Py_DECREF(method);
    }
    return Py_NewRef(Py_None);
}

static PyMethodDef functions[] = {
    {"prepare", prepare, METH_VARARGS, NULL},
    {"readReady", readReady, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module) {
    if (PyInterpreterState_Get() != PyInterpreterState_Main())
        return PyErr_SetString(PyExc_ImportError, "it is for the main interpreter"), -1;
    if (exact_types)
        return PyErr_SetString(PyExc_ImportError, "it can be loaded once in a process"), -1;
    NAMES(INTERN)
    if (!(exact_types = PyTuple_New(0)) || !(empty = PyBytes_FromStringAndSize(NULL, 0)))
        return -1;
    return PyModule_AddStringConstant(module, "SOURCE_DIGEST", SOURCE_DIGEST);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "speedups",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit_speedups(void) {
    return PyModuleDef_Init(&definition);
}
