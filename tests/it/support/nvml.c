/* NVIDIA's management library of a machine that a test cannot have: one GPU, told by files in $NVML_DIR. memory: its total
 * and used bytes. holder: a process and what it holds. xid: a critical error, told once. failing: nothing is told any more.
 * lost: the GPU has gone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, GPU_IS_LOST = 15, UNKNOWN = 999 };

static char gpu, events;

static const char *path_of(const char *name) {
  static __thread char path[1024];
  const char *folder = getenv("NVML_DIR");
  snprintf(path, sizeof path, "%s/%s", folder ? folder : "", name);
  return path;
}

/* The numbers in a file; how many there are. */
static int numbers(const char *name, unsigned long long *first, unsigned long long *second) {
  FILE *file = fopen(path_of(name), "r");
  if (!file) return 0;
  int found = fscanf(file, "%llu %llu", first, second);
  fclose(file);
  return found;
}

static int is_on(const char *name) { return access(path_of(name), F_OK) == 0; }

static int state(void) { return is_on("lost") ? GPU_IS_LOST : is_on("failing") ? UNKNOWN : SUCCESS; }

int nvmlInit_v2(void) { return SUCCESS; }

int nvmlShutdown(void) { return SUCCESS; }

int nvmlSystemGetDriverVersion(char *text, unsigned size) {
  snprintf(text, size, "999.1");
  return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
  *version = 13000;
  return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
  *count = 1;
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  if (index) return INVALID_ARGUMENT;
  *device = &gpu;
  return is_on("lost") ? GPU_IS_LOST : SUCCESS;
}

int nvmlDeviceGetName(void *device, char *text, unsigned size) {
  snprintf(text, size, "NVIDIA of a test");
  return device == &gpu ? state() : INVALID_ARGUMENT;
}

struct memory {
  unsigned version;
  unsigned long long total, reserved, free, used;
};

int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *memory) {
  if (device != &gpu) return INVALID_ARGUMENT;
  memory->total = 24ull << 30;
  memory->used = 1ull << 30;
  numbers("memory", &memory->total, &memory->used);
  memory->free = memory->total - memory->used;
  return state();
}

struct process {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
};

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *processes) {
  unsigned long long pid, bytes;
  unsigned room = *count;
  if (device != &gpu || state()) return state();
  *count = numbers("holder", &pid, &bytes) == 2;
  if (room < *count) return INSUFFICIENT_SIZE;
  if (*count) processes[0] = (struct process){ .pid = pid, .used = bytes, .gpu_instance = -1, .compute_instance = -1 };
  return SUCCESS;
}

int nvmlEventSetCreate(void **set) {
  *set = &events;
  return SUCCESS;
}

int nvmlEventSetFree(void *set) { return set == &events ? SUCCESS : INVALID_ARGUMENT; }

/* 8 stands for critical errors. */
int nvmlDeviceRegisterEvents(void *device, unsigned long long kinds, void *set) {
  return device == &gpu && set == &events && kinds == 8 ? SUCCESS : INVALID_ARGUMENT;
}

struct event {
  void *device;
  unsigned long long kind, data;
  unsigned gpu_instance, compute_instance;
};

int nvmlEventSetWait_v2(void *set, struct event *event, unsigned ms) {
  unsigned long long none;
  if (set != &events) return INVALID_ARGUMENT;
  for (unsigned waited = 0; waited < ms; waited += 10) {
    if (numbers("xid", &event->data, &none) >= 1) {
      unlink(path_of("xid"));
      event->device = &gpu;
      event->kind = 8;
      return SUCCESS;
    }
    nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
  }
  return TIMEOUT;
}
