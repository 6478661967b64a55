/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "transaction.h"

static const struct slice request = {"CHECK secret\n", 13};

static void test_requests_are_kept_and_erased(void **state)
{
    struct transaction transaction = {0};
    struct buffer spare = {0};

    (void)state;
    for (int round = 0; round < 2; round++) {
        transaction_open(&transaction, &spare);
        assert_null(spare.data);
        assert_true(transaction_keep(&transaction, request, 100));
        assert_true(transaction_keep(&transaction, request, 100));
        transaction.taken = request.len;
        assert_memory_equal(transaction_rest(&transaction).at, request.at, request.len);
        assert_int_equal(transaction_rest(&transaction).len, request.len);
        transaction_end(&transaction, &spare);
        assert_int_equal(transaction.stage, TRANSACTION_NONE);
        assert_non_null(spare.data);
        assert_null(memmem(spare.data, 2 * request.len, "secret", 6));
    }
    buffer_free(&spare);
}

static void test_a_transaction_that_is_too_long_fails(void **state)
{
    struct transaction transaction = {0};

    (void)state;
    transaction_open(&transaction, &(struct buffer){0});
    assert_true(transaction_keep(&transaction, request, 25));
    assert_false(transaction_keep(&transaction, request, 25));
    assert_true(transaction.failed);
    assert_int_equal(transaction_rest(&transaction).len, 0);
    /* The others are neither kept nor refused again. */
    assert_true(transaction_keep(&transaction, request, 25));
    assert_int_equal(transaction_rest(&transaction).len, 0);
    transaction_end(&transaction, NULL);
    assert_null(transaction.requests.data);
    transaction_fail(&transaction);
    assert_false(transaction.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_kept_and_erased),
        cmocka_unit_test(test_a_transaction_that_is_too_long_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
