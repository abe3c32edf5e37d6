// tokio-postgres: prepared statements, pipelining, portals, COPY, LISTEN, cancel, errors.
use futures_util::{future, pin_mut, stream, SinkExt, StreamExt, TryStreamExt};
use std::env::var;
use std::time::Duration;
use tokio_postgres::{error::SqlState, AsyncMessage, Config, NoTls};

fn config() -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(var("PGPORT").unwrap().parse().unwrap());
    config.user(var("PGUSER").unwrap()).password(var("PGPASSWORD").unwrap()).dbname(var("PGDATABASE").unwrap());
    config
}

#[tokio::main]
async fn main() {
    let (mut client, mut connection) = config().connect(NoTls).await.unwrap();
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(n) = message {
                told.send(n.payload().to_string()).unwrap();
            }
        }
    });
    client.batch_execute("create temp table t (id int primary key, name text)").await.unwrap();
    let put = client.prepare("insert into t values ($1, $2)").await.unwrap();
    let puts = (0..500).map(|i| { let (c, p) = (&client, &put); async move { c.execute(p, &[&i, &format!("name {i}")]).await } });
    future::try_join_all(puts).await.unwrap();
    let row = client.query_one("select name from t where id = $1", &[&7]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "name 7");
    let error = client.execute(&put, &[&7, &"again"]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    let transaction = client.transaction().await.unwrap();
    let all = transaction.prepare("select id from t order by id").await.unwrap();
    let portal = transaction.bind(&all, &[]).await.unwrap();
    assert_eq!(transaction.query_portal(&portal, 100).await.unwrap().len(), 100);
    assert_eq!(transaction.query_portal(&portal, 1000).await.unwrap().len(), 400);
    transaction.commit().await.unwrap();
    let sink = client.copy_in("copy t from stdin").await.unwrap();
    pin_mut!(sink);
    sink.send(bytes::Bytes::from_static(b"1000\tcopied\n")).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 1);
    let copied: Vec<_> = client.copy_out("copy (select id from t where id = 1000) to stdout").await.unwrap().try_collect().await.unwrap();
    assert_eq!(copied.concat(), b"1000\n");
    client.batch_execute("listen news; notify news, 'one'").await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), "one");
    let token = client.cancel_token();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await.unwrap();
    });
    let error = client.batch_execute("select pg_sleep(30)").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
    let row = client.query_one("select ssn from masked_people", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "[REDACTED]");
    println!("done");
}
