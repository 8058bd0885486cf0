//! Ending in good order.

use std::sync::Arc;

use cutover_coordinator::server::{Rules, ServeError, StartError};
use cutover_coordinator::store::StoreError;
use cutover_shared::protocol::{Request, Response};
use cutover_transport::{CloseCode, Ended, ended};

use crate::world::{Server, transport, within};

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_finished_and_clients_told_to_come_back() {
    let mut server = Server::start().await;
    server.enrol(&["p1"]).await;
    let person = server.client("max").await;
    let (_writer, mut followed) = person.open(&Request::Follow).await;
    let first = within(followed.recv::<Response>()).await.unwrap();
    assert!(matches!(first, Some(Response::Checkpoint(_))));
    let host = server.client(&transport("p1")).await;
    let (_upward, mut directives) = host.open(&Request::Directives).await;
    // Its stream is being served when another request on the same connection, made later, is answered
    // and the follower's stream above is: the order of ending below does not depend on it.
    host.checkpoint().await;

    let task = server.begin_to_stop();
    assert!(within(followed.recv::<Response>()).await.unwrap().is_none(), "an end, not a cut");
    let _ = within(directives.recv::<Response>()).await;
    for connection in [&person.connection, &host.connection] {
        let why = ended(&within(connection.closed()).await);
        assert!(matches!(why, Ended::Closed { code: CloseCode::ShuttingDown, .. }), "{why:?}");
    }
    within(task).await.unwrap().unwrap();

    // Everything is let go of: the next one finds the store free.
    server.run().await;
    assert_eq!(server.client("max").await.checkpoint().await.head.size, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_on_one_directory_is_refused() {
    let mut server = Server::prepare(Arc::new(Rules));
    server.run().await;
    let error = server.fails().await;
    assert!(
        matches!(error, ServeError::Start(StartError::Store(StoreError::InUse { .. }))),
        "{error:?}"
    );
    server.stop().await;
}
