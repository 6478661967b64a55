/* histogram: the distribution of values, in powers of two.
 *
 * Bucket i counts values up to 2^i; the last one has no bound. Recording is one increment. The
 * difference of two histograms is the histogram of the values recorded in between. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HISTOGRAM_H
#define APIKEYD_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 25 }; /* microseconds up to 8.4 s, or numbers up to 8.4 million */

struct histogram {
    uint64_t bucket[HISTOGRAM_BUCKETS];
    uint64_t sum;
};

/* The bucket of the smallest power of two that is not below `value`. */
static inline unsigned histogram_bucket(uint64_t value)
{
    unsigned log2 = value > 1 ? 64 - (unsigned)__builtin_clzll(value - 1) : 0;

    return log2 < HISTOGRAM_BUCKETS ? log2 : HISTOGRAM_BUCKETS - 1;
}

/* Record `value` `times` times; a value below 0, as after a step of a clock, counts as 0. */
static inline void histogram_record(struct histogram *histogram, int64_t value, uint64_t times)
{
    uint64_t counted = value > 0 ? (uint64_t)value : 0;

    histogram->bucket[histogram_bucket(counted)] += times;
    histogram->sum += counted * times;
}

/* target += addend; target -= part, which holds nothing that target does not */
void histogram_add(struct histogram *target, const struct histogram *addend);
void histogram_subtract(struct histogram *target, const struct histogram *part);

uint64_t histogram_count(const struct histogram *histogram);

/* Returns the value that `share` (0 to 1) of the values do not exceed, interpolated within its
 * bucket, or the lower bound of the last bucket. Negative when there are no values. */
double histogram_quantile(const struct histogram *histogram, double share);

#endif
