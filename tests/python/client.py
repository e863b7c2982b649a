"""A Diachron client in Python, made from the .proto files alone.

    pip install grpcio-tools
    python -m grpc_tools.protoc -I proto/proto --python_out=gen --grpc_python_out=gen proto/proto/diachron/v1/*.proto
    PYTHONPATH=gen python tests/python/client.py 127.0.0.1:PORT     # a peer's address

Creates a database, transacts, asks now and as of the past, speculates with typed tx-data, hears of each transaction,
reads a typed error. Exits with 1 where an answer is not
the expected one.
"""
import sys
import uuid

import grpc
from diachron.v1 import error_pb2, peer_pb2, peer_pb2_grpc, transaction_pb2, value_pb2

DEADLINE_S = 30


def transact(peer, database, tx_data):
    request = transaction_pb2.TransactRequest(database=database, tx_data=tx_data)
    return peer.Transact(request, timeout=DEADLINE_S)


def query(peer, database, text, as_of=None, args=()):
    """All rows of an answer, each a list of Python values."""
    view = value_pb2.DatabaseView(name=database)
    if as_of is not None:
        view.as_of.t = as_of
    inputs = [peer_pb2.QueryInput(database=view)] + [peer_pb2.QueryInput(edn=arg) for arg in args]
    rows, ended = [], False
    for part in peer.Query(peer_pb2.QueryRequest(query=text, inputs=inputs), timeout=DEADLINE_S):
        rows += [[plain(value) for value in row.values] for row in part.rows]
        ended = ended or part.HasField("end")
    assert ended, "the answer was cut off"
    return rows


def plain(value):
    return getattr(value, value.WhichOneof("kind"))


def expect(what, found, expected):
    print(f"{what}: {found!r}")
    if found != expected:
        sys.exit(f"expected {expected!r}")


def main(address):
    with grpc.insecure_channel(address) as channel:
        peer = peer_pb2_grpc.PeerStub(channel)
        database = "python-" + uuid.uuid4().hex[:8]
        created = peer.CreateDatabase(transaction_pb2.CreateDatabaseRequest(name=database), timeout=DEADLINE_S)
        expect("created", created.created, True)

        transact(peer, database, """
            [{:db/ident :city/name :db/valueType :db.type/string
              :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
             {:db/ident :city/people :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]""")
        first = transact(peer, database, '[{:db/id "o" :city/name "Oslo" :city/people 700000}]')
        expect("tempid", [tempid.tempid for tempid in first.tempids], ["o"])
        second = transact(peer, database, '[{:city/name "Oslo" :city/people 717710}]')
        expect("t", second.t, first.t + 1)
        said = [(d.attribute, plain(d.v), d.added) for d in second.datoms if d.attribute == "city/people"]
        expect("datoms", sorted(said), [("city/people", 700000, False), ("city/people", 717710, True)])

        people = "[:find ?people :in $ ?name :where [?c :city/name ?name] [?c :city/people ?people]]"
        expect("now", query(peer, database, people, args=['"Oslo"']), [[717710]])
        expect("as of", query(peer, database, people, as_of=first.t, args=['"Oslo"']), [[700000]])

        # Typed tx-data, in a view of what it would do: nothing is written.
        entry = value_pb2.Map.Entry
        city = value_pb2.Value(map=value_pb2.Map(entries=[
            entry(key=value_pb2.Value(keyword="city/name"), value=value_pb2.Value(string="Oslo")),
            entry(key=value_pb2.Value(keyword="city/people"), value=value_pb2.Value(long=3)),
        ]))
        speculation = value_pb2.DatabaseView(name=database)
        speculation.with_tx_data.add().forms.values.append(city)
        components = [peer_pb2.Component(edn='[:city/name "Oslo"]'), peer_pb2.Component(edn=":city/people")]
        request = peer_pb2.DatomsRequest(database=speculation, index=peer_pb2.INDEX_EAVT, components=components)
        datoms = [d for part in peer.Datoms(request, timeout=DEADLINE_S) for d in part.datoms]
        expect("speculative datoms", [plain(d.v) for d in datoms], [3])

        # Every transaction from the first on; the stream has no end of its own.
        reports, heard = peer.TxReports(peer_pb2.TxReportsRequest(database=database), timeout=DEADLINE_S), []
        for part in reports:
            heard += [transaction.t for transaction in part.transactions if not transaction.continues]
            if heard[-1:] == [second.t]:
                break
        reports.cancel()
        expect("reports", heard, list(range(1, second.t + 1)))

        try:
            transact(peer, database, '[{:city/name "Bergen" :city/people "many"}]')
            sys.exit("a string was taken for a long")
        except grpc.RpcError as error:
            expect("status", error.code(), grpc.StatusCode.INVALID_ARGUMENT)
            trailers = dict(error.trailing_metadata())
            detail = error_pb2.ErrorDetail.FromString(trailers["diachron-error-bin"])
            expect("code", detail.code, "db.error/wrong-type-for-attribute")
            print("message:", detail.message)


if __name__ == "__main__":
    main(sys.argv[1])
