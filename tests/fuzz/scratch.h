/* scratch: a file on tmpfs of the fuzzer's own.
 *
 * What is tested opens files by name. The folder goes when the process ends, unless it is killed.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FUZZ_SCRATCH_H
#define APIKEYD_FUZZ_SCRATCH_H

/* The path of `name` in the folder, which is made by the first call. Lives forever. */
const char *scratch_path(const char *name);

/* Remove all that is in the folder, whatever it is called. */
void scratch_clear(void);

#endif
