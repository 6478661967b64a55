/* pg_id: IDs in PostgreSQL's binary format, and the types of columns that hold them.
 *
 * A column fits postgres.id_type if it is of that type, of a narrower integer, or of varchar; a
 * domain over one of these counts as that one. Such columns compare with parameters of the type by
 * an index. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_ID_H
#define APIKEYD_PG_ID_H

#include <libpq-fe.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/model/row_id.h>

/* The OID of the type of an element, and of an array of them. */
uint32_t pg_id_oid(enum id_type type);
uint32_t pg_id_array_oid(enum id_type type);

/* Append an ID as an element of an array. */
void pg_id_element(struct buffer *array, const struct row_id *id, enum id_type type);

/* Returns whether the column of a result holds IDs of the type. */
bool pg_id_fits(const PGresult *result, int column, enum id_type type);

/* Read an ID from a column that fits. False, and *ret is zeros, when it is NULL, or text that is no
 * ID (see row_id_from_text()). */
bool pg_id_read(const PGresult *result, int row, int column, enum id_type type, struct row_id *ret);

/* The name of a type, for people, or "another type". */
const char *pg_type_name(uint32_t oid);

#endif
