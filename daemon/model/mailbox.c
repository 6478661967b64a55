/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/mailbox.h>

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *mailbox, size_t slots, size_t message_size)
{
    *mailbox = (struct mailbox){.wake_fd = -1, .room = slots + MAILBOX_RESERVE};
    mailbox->ring = ring_new(slots + MAILBOX_RESERVE, message_size);
    if (!mailbox->ring)
        return -ENOMEM;
    mailbox->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mailbox->wake_fd < 0) {
        int error = -errno;

        mailbox_done(mailbox);
        return error;
    }
    return 0;
}

void mailbox_done(struct mailbox *mailbox)
{
    ring_free(mailbox->ring);
    mailbox->ring = NULL;
    if (mailbox->wake_fd >= 0)
        close(mailbox->wake_fd);
    mailbox->wake_fd = -1;
}

static bool post(struct mailbox *mailbox, const void *message, size_t len, size_t keep_free)
{
    if (!ring_push(mailbox->ring, message, len, keep_free))
        return false;
    mailbox->posted++;
    return true;
}

bool mailbox_post(struct mailbox *mailbox, const void *message, size_t len)
{
    return post(mailbox, message, len, MAILBOX_RESERVE);
}

bool mailbox_post_reserved(struct mailbox *mailbox, const void *message, size_t len)
{
    return post(mailbox, message, len, 0);
}

bool mailbox_post_minor(struct mailbox *mailbox, const void *message, size_t len)
{
    return post(mailbox, message, len, mailbox->room - MAILBOX_MINOR);
}

void mailbox_wake(struct mailbox *mailbox)
{
    if (mailbox->posted == 0)
        return;
    mailbox->posted = 0;
    /* The write fails only if the counter is at its maximum, and then the consumer is awake anyway.
     */
    (void)eventfd_write(mailbox->wake_fd, 1);
}

void mailbox_clear_wake(struct mailbox *mailbox)
{
    eventfd_t ignored;

    (void)eventfd_read(mailbox->wake_fd, &ignored);
}

void mailbox_wake_again(struct mailbox *mailbox)
{
    (void)eventfd_write(mailbox->wake_fd, 1);
}

bool mailbox_take(struct mailbox *mailbox, void *ret_message)
{
    return ring_pop(mailbox->ring, ret_message);
}
