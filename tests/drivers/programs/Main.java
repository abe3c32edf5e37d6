// pgjdbc: prepared statements of both kinds, batches, fetch size, COPY, savepoints, cancel, errors, TLS.
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.Properties;
import org.postgresql.PGConnection;

public class Main {
    static void check(boolean ok, String what) {
        if (!ok) throw new AssertionError(what);
    }

    static Connection connect(String more) throws SQLException {
        var env = System.getenv();
        var properties = new Properties();
        properties.setProperty("user", env.get("PGUSER"));
        properties.setProperty("password", env.get("PGPASSWORD"));
        return DriverManager.getConnection(
            "jdbc:postgresql://localhost:" + env.get("PGPORT") + "/" + env.get("PGDATABASE") + "?" + more, properties);
    }

    static void work(String more) throws Exception {
        try (var connection = connect(more); var statement = connection.createStatement()) {
            statement.execute("create temp table t (id int primary key, name text, at timestamptz)");
            try (var put = connection.prepareStatement("insert into t values (?, ?, now())")) {
                for (int i = 0; i < 2000; i++) {
                    put.setInt(1, i);
                    put.setString(2, "name " + i);
                    put.addBatch();
                }
                check(put.executeBatch().length == 2000, "batch");
            }
            try (var get = connection.prepareStatement("select name, at from t where id = ?")) {
                for (int i = 0; i < 20; i++) { // from the fifth on it is a named statement with binary results
                    get.setInt(1, i);
                    var found = get.executeQuery();
                    check(found.next() && found.getString(1).equals("name " + i) && found.getTimestamp(2) != null, "row");
                }
            }
            connection.setAutoCommit(false);
            statement.setFetchSize(100);
            int n = 0;
            try (var found = statement.executeQuery("select * from t")) {
                while (found.next()) n++;
            }
            check(n == 2000, "fetched " + n);
            var savepoint = connection.setSavepoint();
            try {
                statement.execute("insert into t values (1)");
                check(false, "unique");
            } catch (SQLException problem) {
                check(problem.getSQLState().equals("23505"), problem.toString());
            }
            connection.rollback(savepoint);
            statement.execute("update t set name = 'x' where id < 10");
            check(statement.getUpdateCount() == 10, "updated");
            connection.commit();
            connection.setAutoCommit(true);
            var copies = connection.unwrap(PGConnection.class).getCopyAPI();
            check(copies.copyIn("copy t from stdin", new StringReader("5000\tcopied\t\\N\n")) == 1, "copied in");
            var out = new StringWriter();
            copies.copyOut("copy (select id from t where id >= 1999 order by 1) to stdout", out);
            check(out.toString().equals("1999\n5000\n"), out.toString());
            var canceller = new Thread(() -> {
                try { Thread.sleep(300); statement.cancel(); } catch (Exception problem) { throw new RuntimeException(problem); }
            });
            canceller.start();
            try {
                statement.execute("select pg_sleep(30)");
                check(false, "cancelled");
            } catch (SQLException problem) {
                check(problem.getSQLState().equals("57014"), problem.toString());
            }
            canceller.join();
            statement.execute("do $$ begin raise notice 'hear this'; end $$");
            check(statement.getWarnings().getMessage().equals("hear this"), "notice");
            if (!more.contains("simple")) { // which pgjdbc itself cannot
                try (var call = connection.prepareCall("{? = call upper(?)}")) {
                    call.registerOutParameter(1, Types.VARCHAR);
                    call.setString(2, "abc");
                    call.execute();
                    check(call.getString(1).equals("ABC"), "call");
                }
            }
            var tables = connection.getMetaData().getColumns(null, "public", "masked_people", "%");
            int columns = 0;
            while (tables.next()) columns++;
            check(columns == 3, "columns " + columns);
            var masked = statement.executeQuery("select ssn from masked_people");
            check(masked.next() && masked.getString(1).equals("[REDACTED]"), "masked");
        }
    }

    public static void main(String[] arguments) throws Exception {
        work("sslmode=disable");
        work("sslmode=disable&preferQueryMode=simple");
        work("sslmode=disable&preferQueryMode=extendedForPrepared&reWriteBatchedInserts=true&prepareThreshold=-1");
        work("sslmode=verify-full&sslrootcert=" + System.getenv("CA_FILE"));
        System.out.println("done");
    }
}
