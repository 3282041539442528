/* Stands for the NI-DAQmx runtime: as much of its C interface as a continuous acquisition needs.
 *
 * cc -shared -fPIC -Wl,-soname,libnidaqmx.so.1 -o libnidaqmx.so.1 nidaqmx_fake.c -lpthread
 *
 * Devices cDAQ1Mod1 and cDAQ1Mod2, inputs ai0 to ai7. Sample n of input aiC is 8 (n + 1) + C, so that
 * every sample is known and exact. The sample clock is the wall's; the fake_... functions move it,
 * hold it up and make calls fail. What channels were asked for is kept as text.
 */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LAST_TASK 8
#define LAST_INPUT 32
#define INPUTS_OF_DEVICE 8

typedef void *TaskHandle;

typedef struct {
    char name[64];
    char devices[LAST_INPUT][64];
    int numbers[LAST_INPUT];
    int inputs;
    double rate_hz;
    uint32_t kept;
    uint64_t read;
    double begun_s;
    int running, overrun, aborted;
} Task;

static Task *tasks[LAST_TASK];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread char last_error[512];

static char fail_where[16];
static int32_t fail_code;
static int fail_times;
static int64_t limit = -1;
static double factor = 1.0;
static volatile int reads;
static char configured[8192];

/* -- how a test moves it -------------------------------------------------------------------- */

/* The next `times` calls of that kind (create, start, read) fail with the code. */
void fake_fail(const char *where, int32_t code, int times)
{
    pthread_mutex_lock(&lock);
    snprintf(fail_where, sizeof fail_where, "%s", where);
    fail_code = code;
    fail_times = times;
    pthread_mutex_unlock(&lock);
}

/* No more samples than that since the start; below 0: no limit. */
void fake_limit(int64_t samples) { limit = samples; }

/* The sample clock runs that much ahead. */
void fake_skip(double seconds)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < LAST_TASK; i++)
        if (tasks[i]) tasks[i]->begun_s -= seconds;
    pthread_mutex_unlock(&lock);
}

/* The clock's real rate is the wanted one times this. */
void fake_factor(double by) { factor = by; }

/* How many reads have begun. */
int fake_reads(void) { return reads; }

/* What was asked for since the last call: one line a channel. */
const char *fake_configured(void)
{
    static char copy[sizeof configured];
    pthread_mutex_lock(&lock);
    strcpy(copy, configured);
    configured[0] = 0;
    pthread_mutex_unlock(&lock);
    return copy;
}

static void note(const char *format, ...)
{
    va_list arguments;
    pthread_mutex_lock(&lock);
    size_t used = strlen(configured);
    va_start(arguments, format);
    vsnprintf(configured + used, sizeof configured - used, format, arguments);
    va_end(arguments);
    pthread_mutex_unlock(&lock);
}

/* -- errors --------------------------------------------------------------------------------- */

static int32_t failed(int32_t code)
{
    snprintf(last_error, sizeof last_error, "The runtime that is none says no.\n\nStatus Code: %d",
             code);
    return code;
}

static int32_t injected(const char *where)
{
    int32_t code = 0;
    pthread_mutex_lock(&lock);
    if (fail_times > 0 && !strcmp(where, fail_where)) {
        fail_times--;
        code = fail_code;
    }
    pthread_mutex_unlock(&lock);
    return code ? failed(code) : 0;
}

static Task *task_of(TaskHandle handle)
{
    for (int i = 0; i < LAST_TASK; i++)
        if (tasks[i] && tasks[i] == handle) return tasks[i];
    return NULL;
}

#define NEED_TASK(task, handle)                   \
    Task *task = task_of(handle);                 \
    if (!task) return failed(-200088)

static int32_t text(char *buffer, uint32_t size, const char *value)
{
    if (!size) return (int32_t)strlen(value) + 1;
    snprintf(buffer, size, "%s", value);
    return 0;
}

int32_t DAQmxGetExtendedErrorInfo(char *buffer, uint32_t size)
{
    return text(buffer, size, last_error);
}

/* -- tasks ---------------------------------------------------------------------------------- */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static uint64_t acquired(const Task *task)
{
    if (!task->running) return task->read;
    uint64_t found = (uint64_t)((now_s() - task->begun_s) * task->rate_hz);
    return limit >= 0 && found > (uint64_t)limit ? (uint64_t)limit : found;
}

int32_t DAQmxGetSystemInfoAttribute(int32_t attribute, void *value, ...)
{
    *(uint32_t *)value = attribute == 0x1272 ? 26 : 0; /* version 26.0.0 */
    return 0;
}

int32_t DAQmxCreateTask(const char *name, TaskHandle *handle)
{
    int32_t code = injected("create");
    if (code) return code;
    for (int i = 0; i < LAST_TASK; i++)
        if (!tasks[i]) {
            Task *task = calloc(1, sizeof *task);
            snprintf(task->name, sizeof task->name, "%s", name && *name ? name : "unnamed");
            task->rate_hz = 1000;
            *handle = tasks[i] = task;
            return 0;
        }
    return failed(-200089);
}

int32_t DAQmxClearTask(TaskHandle handle)
{
    for (int i = 0; i < LAST_TASK; i++)
        if (tasks[i] && tasks[i] == handle) {
            free(tasks[i]);
            tasks[i] = NULL;
            return 0;
        }
    return failed(-200088);
}

int32_t DAQmxStartTask(TaskHandle handle)
{
    NEED_TASK(task, handle);
    int32_t code = injected("start");
    if (code) return code;
    for (int i = 0; i < LAST_TASK; i++) {
        const Task *other = tasks[i];
        if (!other || other == task || !other->running) continue;
        for (int a = 0; a < task->inputs; a++)
            for (int b = 0; b < other->inputs; b++)
                if (!strcmp(task->devices[a], other->devices[b])) return failed(-50103);
    }
    task->begun_s = now_s();
    task->read = 0;
    task->overrun = task->aborted = 0;
    task->running = 1;
    return 0;
}

int32_t DAQmxStopTask(TaskHandle handle)
{
    NEED_TASK(task, handle);
    task->running = 0;
    return 0;
}

int32_t DAQmxTaskControl(TaskHandle handle, int32_t action)
{
    NEED_TASK(task, handle);
    if (action == 6) task->aborted = 1;
    return 0;
}

/* -- configuration -------------------------------------------------------------------------- */

static int32_t add(TaskHandle handle, const char *channel)
{
    NEED_TASK(task, handle);
    int32_t code = injected("channel");
    if (code) return code;
    char device[64];
    int number;
    if (sscanf(channel, "%63[^/]/ai%d", device, &number) != 2) return failed(-201237);
    if (strcmp(device, "cDAQ1Mod1") && strcmp(device, "cDAQ1Mod2")) return failed(-200220);
    if (number < 0 || number >= INPUTS_OF_DEVICE) return failed(-200170);
    if (task->inputs == LAST_INPUT) return failed(-200071);
    strcpy(task->devices[task->inputs], device);
    task->numbers[task->inputs++] = number;
    return 0;
}

int32_t DAQmxCreateAIVoltageChan(TaskHandle handle, const char *channel, const char *name,
                                 int32_t terminal, double low, double high, int32_t units,
                                 const char *scale)
{
    note("voltage %s terminal %d %g to %g\n", channel, terminal, low, high);
    return add(handle, channel);
}

int32_t DAQmxCreateAIVoltageChanWithExcit(TaskHandle handle, const char *channel, const char *name,
                                          int32_t terminal, double low, double high, int32_t units,
                                          int32_t bridge, int32_t source, double excitation,
                                          uint32_t scaling, const char *scale)
{
    note("iepe_voltage %s terminal %d %g to %g source %d %g A\n", channel, terminal, low, high,
         source, excitation);
    return add(handle, channel);
}

int32_t DAQmxCreateAIAccelChan(TaskHandle handle, const char *channel, const char *name,
                               int32_t terminal, double low, double high, int32_t units,
                               double sensitivity, int32_t sensitivity_units, int32_t source,
                               double excitation, const char *scale)
{
    note("accelerometer %s terminal %d %g to %g units %d %g of %d source %d %g A\n", channel,
         terminal, low, high, units, sensitivity, sensitivity_units, source, excitation);
    return add(handle, channel);
}

int32_t DAQmxCreateAIThrmcplChan(TaskHandle handle, const char *channel, const char *name,
                                 double low, double high, int32_t units, int32_t type,
                                 int32_t junction, double junction_degc, const char *junction_chan)
{
    note("thermocouple %s %g to %g units %d type %d junction %d %g\n", channel, low, high, units,
         type, junction, junction_degc);
    return add(handle, channel);
}

int32_t DAQmxCreateAIRTDChan(TaskHandle handle, const char *channel, const char *name, double low,
                             double high, int32_t units, int32_t type, int32_t wires,
                             int32_t source, double excitation, double r0_ohm)
{
    note("rtd %s %g to %g units %d type %d wires %d source %d %g A %g ohm\n", channel, low, high,
         units, type, wires, source, excitation, r0_ohm);
    return add(handle, channel);
}

int32_t DAQmxSetChanAttribute(TaskHandle handle, const char *channel, int32_t attribute, ...)
{
    NEED_TASK(task, handle);
    va_list arguments;
    va_start(arguments, attribute);
    int32_t value = va_arg(arguments, int32_t);
    va_end(arguments);
    note("%s 0x%04X = %d\n", channel, attribute, value);
    (void)task;
    return 0;
}

int32_t DAQmxCfgSampClkTiming(TaskHandle handle, const char *source, double rate_hz, int32_t edge,
                              int32_t mode, uint64_t kept)
{
    NEED_TASK(task, handle);
    task->rate_hz = rate_hz * factor;
    task->kept = (uint32_t)kept;
    return mode == 10123 ? 0 : failed(-200077); /* continuous, and nothing else */
}

int32_t DAQmxSetBufferAttribute(TaskHandle handle, int32_t attribute, uint32_t value)
{
    NEED_TASK(task, handle);
    task->kept = value;
    note("kept %u\n", value);
    return attribute == 0x186C ? 0 : failed(-200077);
}

int32_t DAQmxSetReadAttribute(TaskHandle handle, int32_t attribute, int32_t value)
{
    NEED_TASK(task, handle);
    (void)task;
    /* never write over what is unread */
    return attribute == 0x1211 && value == 10159 ? 0 : failed(-200077);
}

/* -- questions ------------------------------------------------------------------------------ */

int32_t DAQmxGetTimingAttribute(TaskHandle handle, int32_t attribute, void *value, ...)
{
    NEED_TASK(task, handle);
    if (attribute != 0x1344) return failed(-200077);
    *(double *)value = task->rate_hz;
    return 0;
}

int32_t DAQmxGetTaskAttribute(TaskHandle handle, int32_t attribute, void *value, uint32_t size)
{
    NEED_TASK(task, handle);
    if (attribute == 0x1276) return text(value, size, task->name);
    if (attribute != 0x230E) return failed(-200077);
    char devices[LAST_INPUT * 66] = "";
    for (int i = 0; i < task->inputs; i++)
        if (!strstr(devices, task->devices[i])) {
            if (*devices) strcat(devices, ", ");
            strcat(devices, task->devices[i]);
        }
    return text(value, size, devices);
}

int32_t DAQmxGetReadAttribute(TaskHandle handle, int32_t attribute, void *value, uint32_t size)
{
    NEED_TASK(task, handle);
    if (attribute != 0x1223) return failed(-200077);
    *(uint32_t *)value = (uint32_t)(acquired(task) - task->read);
    return 0;
}

int32_t DAQmxGetDeviceAttribute(const char *device, int32_t attribute, void *value, uint32_t size)
{
    if (attribute == 0x0631) return text(value, size, "NI 9234");
    if (attribute != 0x0632) return failed(-200077);
    *(uint32_t *)value = 0x01234567;
    return 0;
}

/* -- samples -------------------------------------------------------------------------------- */

int32_t DAQmxReadAnalogF64(TaskHandle handle, int32_t wanted, double timeout_s, int32_t by_scan,
                           double *values, uint32_t size, int32_t *count, uint32_t *reserved)
{
    NEED_TASK(task, handle);
    *count = 0;
    reads++;
    int32_t code = injected("read");
    if (code) return code;
    if (by_scan || wanted <= 0 || (uint64_t)wanted * task->inputs > size) return failed(-200077);
    double until_s = now_s() + timeout_s;
    uint64_t ready;
    for (;;) {
        if (task->aborted) return failed(-88710);
        ready = acquired(task) - task->read;
        double left_s = until_s - now_s();
        if (ready >= (uint64_t)wanted || left_s <= 0) break;
        double pause_s = (wanted - ready) / task->rate_hz;
        if (pause_s > left_s) pause_s = left_s;
        if (pause_s > 0.02) pause_s = 0.02;
        usleep((useconds_t)(1e6 * pause_s) + 20);
    }
    if (ready > task->kept) task->overrun = 1;
    if (task->overrun) return failed(-200279);
    uint64_t given = ready < (uint64_t)wanted ? ready : (uint64_t)wanted;
    for (int row = 0; row < task->inputs; row++)
        for (uint64_t i = 0; i < given; i++)
            values[(uint64_t)row * wanted + i] = 8.0 * (task->read + i + 1) + task->numbers[row];
    task->read += given;
    *count = (int32_t)given;
    return given < (uint64_t)wanted ? failed(-200284) : 0;
}
