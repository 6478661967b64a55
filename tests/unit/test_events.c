/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/observe/events.h>

static void test_the_newest_comes_first_and_the_oldest_goes(void **state)
{
    struct events events = {0};
    char text[16];

    (void)state;
    assert_null(events_at(&events, 0));
    for (int i = 0; i < EVENTS_MAX + 3; i++) {
        snprintf(text, sizeof text, "line %d", i);
        events_add(&events, i, LOG_LEVEL_INFO, text);
    }
    snprintf(text, sizeof text, "line %d", EVENTS_MAX + 2);
    assert_string_equal(events_at(&events, 0)->text, text);
    assert_string_equal(events_at(&events, EVENTS_MAX - 1)->text, "line 3");
    assert_int_equal(events_at(&events, EVENTS_MAX - 1)->at_us, 3);
    assert_null(events_at(&events, EVENTS_MAX));
}

static void test_a_long_line_is_cut_off(void **state)
{
    struct events events = {0};
    char text[2 * EVENT_TEXT_SIZE];

    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    events_add(&events, 0, LOG_LEVEL_ERROR, text);
    assert_int_equal(strlen(events_at(&events, 0)->text), EVENT_TEXT_SIZE - 1);
    assert_null(events_at(&events, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_comes_first_and_the_oldest_goes),
        cmocka_unit_test(test_a_long_line_is_cut_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
