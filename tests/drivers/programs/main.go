// pgx 5: prepared statements, batches, COPY, LISTEN, cancel, errors, a pool, TLS.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func check(ok bool, what string) {
	if !ok {
		panic(what)
	}
}

func main() {
	ctx := context.Background()
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		conn, err := pgx.Connect(ctx, "default_query_exec_mode="+mode)
		must(err)
		_, err = conn.Exec(ctx, "create temp table t (id int primary key, name text)")
		must(err)
		for i := 0; i < 20; i++ {
			_, err = conn.Exec(ctx, "insert into t values ($1, $2)", i, fmt.Sprint("name ", i))
			must(err)
		}
		var name string
		must(conn.QueryRow(ctx, "select name from t where id = $1", 7).Scan(&name))
		check(name == "name 7", name)
		batch := &pgx.Batch{}
		for i := 100; i < 200; i++ {
			batch.Queue("insert into t values ($1, $2)", i, "batch")
		}
		must(conn.SendBatch(ctx, batch).Close())
		batch = &pgx.Batch{}
		batch.Queue("insert into t values ($1, 'x')", 1000)
		batch.Queue("insert into t values ($1, 'x')", 100)
		var told *pgconn.PgError
		check(errors.As(conn.SendBatch(ctx, batch).Close(), &told) && told.Code == "23505", "unique")
		var n int
		must(conn.QueryRow(ctx, "select count(*) from t").Scan(&n))
		check(n == 120, fmt.Sprint(n))
		must(conn.Close(ctx))
	}
	conn, err := pgx.Connect(ctx, "")
	must(err)
	_, err = conn.Exec(ctx, "create temp table c (id int, at timestamptz, tags text[])")
	must(err)
	rows := [][]any{}
	for i := 0; i < 5000; i++ {
		rows = append(rows, []any{i, time.Now(), []string{"a", "b"}})
	}
	copied, err := conn.CopyFrom(ctx, pgx.Identifier{"c"}, []string{"id", "at", "tags"}, pgx.CopyFromRows(rows))
	must(err)
	check(copied == 5000, "copied")
	tx, err := conn.Begin(ctx)
	must(err)
	_, err = tx.Exec(ctx, "select 1/0")
	check(err != nil, "division")
	must(tx.Rollback(ctx))
	_, err = conn.Exec(ctx, "listen news")
	must(err)
	pool, err := pgxpool.New(ctx, "pool_max_conns=4")
	must(err)
	_, err = pool.Exec(ctx, "select pg_notify('news', 'one')")
	must(err)
	heard, err := conn.WaitForNotification(ctx)
	must(err)
	check(heard.Payload == "one", heard.Payload)
	pool.Close()
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	_, err = conn.Exec(short, "select pg_sleep(30)")
	stop()
	check(err != nil, "timeout")
	conn, err = pgx.Connect(ctx, "")
	must(err)
	go func() {
		time.Sleep(300 * time.Millisecond)
		must(conn.PgConn().CancelRequest(ctx))
	}()
	_, err = conn.Exec(ctx, "select pg_sleep(30)")
	var told *pgconn.PgError
	check(errors.As(err, &told) && told.Code == "57014", "cancelled")
	must(conn.Close(ctx))
	secure, err := pgx.Connect(ctx, "host=localhost sslmode=verify-full sslrootcert="+os.Getenv("CA_FILE"))
	must(err)
	var ssn string
	must(secure.QueryRow(ctx, "select ssn from masked_people").Scan(&ssn))
	check(ssn == "[REDACTED]", ssn)
	must(secure.Close(ctx))
	fmt.Println("done")
}
