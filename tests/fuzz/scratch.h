/* scratch: files of the fuzzer's own, for what opens them by name.
 *
 * They are in the current folder, which whoever starts the fuzzer made for it, and removes.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FUZZ_SCRATCH_H
#define APIKEYD_FUZZ_SCRATCH_H

#define SCRATCH_PREFIX "scratch."

/* Remove all files whose names start so. */
void scratch_clear(void);

#endif
