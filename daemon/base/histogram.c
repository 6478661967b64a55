/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/histogram.h>

void histogram_add(struct histogram *target, const struct histogram *addend)
{
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        target->bucket[i] += addend->bucket[i];
    target->sum += addend->sum;
}

void histogram_subtract(struct histogram *target, const struct histogram *part)
{
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        target->bucket[i] -= part->bucket[i];
    target->sum -= part->sum;
}

uint64_t histogram_count(const struct histogram *histogram)
{
    uint64_t count = 0;

    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        count += histogram->bucket[i];
    return count;
}

double histogram_quantile(const struct histogram *histogram, double share)
{
    double rank = share * (double)histogram_count(histogram);
    double below = 0;

    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        double here = (double)histogram->bucket[i];
        double low = i > 0 ? (double)(1ULL << (i - 1)) : 0;

        if (here > 0 && below + here >= rank)
            return i == HISTOGRAM_BUCKETS - 1
                       ? low
                       : low + low * (rank - below) / here + (i == 0 ? (rank - below) / here : 0);
        below += here;
    }
    return -1;
}
