/* Runs a SavedModel through TensorFlow's C API, the loader of TensorFlow Serving.
 *
 * run_saved_model MODEL REPEAT NAME:INDEX=FILE ... -- NAME:INDEX=FILE ...
 *
 * Feeds the tensors before "--" from .npy files (uint8 or float32), or strings from
 * files named @a,b,c; writes those after it as .npy (float32) and prints the seconds of
 * loading, of the first run and the median of REPEAT more. Exits with 1 and the
 * runtime's message if a step fails.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tensor.h"
#include "tensorflow/c/tf_tstring.h"

#define MOST 16
#define RANK 8

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(const TF_Status *status, const char *what) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s: code %d: %s\n", what, TF_GetCode(status), TF_Message(status));
    exit(1);
  }
}

static void *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file) fail(path, "cannot be opened");
  fseek(file, 0, SEEK_END);
  *size = ftell(file);
  rewind(file);
  char *data = malloc(*size + 1);
  if (fread(data, 1, *size, file) != *size) fail(path, "cannot be read");
  data[*size] = 0;
  fclose(file);
  return data;
}

static TF_Tensor *read_strings(char *list) {
  int64_t count = 0;
  char *paths[1024];
  for (char *p = strtok(list, ","); p && count < 1024; p = strtok(NULL, ","))
    paths[count++] = p;
  TF_Tensor *tensor =
      TF_AllocateTensor(TF_STRING, &count, 1, count * sizeof(TF_TString));
  TF_TString *strings = TF_TensorData(tensor);
  for (int64_t i = 0; i < count; i++) {
    size_t size;
    char *data = read_file(paths[i], &size);
    TF_StringInit(&strings[i]);
    TF_StringCopy(&strings[i], data, size);
    free(data);
  }
  return tensor;
}

static TF_Tensor *read_npy(const char *path) {
  size_t size;
  char *data = read_file(path, &size);
  size_t header = (unsigned char)data[8] | (unsigned char)data[9] << 8;
  char *text = data + 10;
  TF_DataType type = strstr(text, "|u1") ? TF_UINT8 : TF_FLOAT;
  int64_t dims[RANK];
  int rank = 0;
  char *p = strstr(text, "'shape': (") + 10;
  while (*p != ')' && rank < RANK) {
    dims[rank++] = strtoll(p, &p, 10);
    while (*p == ',' || *p == ' ') p++;
  }
  size_t bytes = size - 10 - header;
  TF_Tensor *tensor = TF_AllocateTensor(type, dims, rank, bytes);
  memcpy(TF_TensorData(tensor), text + header, bytes);
  free(data);
  return tensor;
}

static void write_npy(const char *path, const TF_Tensor *tensor) {
  char shape[256] = "", header[512];
  for (int i = 0; i < TF_NumDims(tensor); i++)
    sprintf(shape + strlen(shape), "%lld, ", (long long)TF_Dim(tensor, i));
  sprintf(header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
  int padded = (10 + strlen(header) + 1 + 63) / 64 * 64 - 10;
  FILE *file = fopen(path, "wb");
  if (!file) fail(path, "cannot be written");
  fprintf(file, "\x93NUMPY\x01");
  fputc(0, file);
  fputc(padded & 255, file);
  fputc(padded >> 8, file);
  fprintf(file, "%-*s\n", padded - 1, header);
  fwrite(TF_TensorData(tensor), 1, TF_TensorByteSize(tensor), file);
  fclose(file);
}

static TF_Output find(TF_Graph *graph, char *name) {
  char *colon = strrchr(name, ':');
  if (!colon) fail(name, "is no NAME:INDEX");
  *colon = 0;
  TF_Output output = {TF_GraphOperationByName(graph, name), atoi(colon + 1)};
  if (!output.oper) fail(name, "is not in the graph");
  return output;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc < 4) fail("usage", "MODEL REPEAT FEEDS -- FETCHES");
  int repeat = atoi(argv[2]);
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  double start = now();
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1,
                                                     graph, NULL, status);
  check(status, "load");
  printf("load %.6f\n", now() - start);

  TF_Output feeds[MOST], fetches[MOST];
  TF_Tensor *inputs[MOST], *outputs[MOST];
  char *files[MOST];
  int fed = 0, fetched = 0, after = 0;
  for (int i = 3; i < argc; i++) {
    if (!strcmp(argv[i], "--")) {
      after = 1;
      continue;
    }
    char *file = strchr(argv[i], '=');
    if (!file || fed == MOST || fetched == MOST) fail(argv[i], "is no NAME:INDEX=FILE");
    *file++ = 0;
    if (after) {
      files[fetched] = file;
      fetches[fetched++] = find(graph, argv[i]);
    } else {
      inputs[fed] = *file == '@' ? read_strings(file + 1) : read_npy(file);
      feeds[fed++] = find(graph, argv[i]);
    }
  }
  double *seconds = calloc(repeat + 1, sizeof(double));
  for (int k = 0; k <= repeat; k++) {
    start = now();
    TF_SessionRun(session, NULL, feeds, inputs, fed, fetches, outputs, fetched, NULL, 0,
                  NULL, status);
    seconds[k] = now() - start;
    check(status, "run");
    for (int i = 0; k < repeat && i < fetched; i++) TF_DeleteTensor(outputs[i]);
  }
  printf("first %.6f\n", seconds[0]);
  if (repeat) {
    qsort(seconds + 1, repeat, sizeof(double), compare);
    printf("median %.6f\n", seconds[1 + repeat / 2]);
  }
  for (int i = 0; i < fetched; i++)
    if (TF_TensorType(outputs[i]) == TF_FLOAT) write_npy(files[i], outputs[i]);
  return 0;
}
