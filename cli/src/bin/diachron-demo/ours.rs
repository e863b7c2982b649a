//! Questions of our own. Their answers were computed from the data by a short program, without this database.

use super::ask::{Asked, Call, Expected};
use super::{DATABASE, Outcome};
use client::Client;

pub(super) async fn ask(asked: &mut Asked) -> Outcome<()> {
    now(asked).await?;
    time(asked).await?;
    change(asked).await
}

/// Joins, aggregates, negation, recursion, pull.
async fn now(asked: &mut Asked) -> Outcome<()> {
    let text = "How many countries use the euro, the pound, the dollar and the CFA franc?";
    let call = Call::of(
        "[:find ?code (count ?c) :in $ [?code ...]
          :where [?m :currency/code ?code] [?c :country/currency ?m]]",
    )
    .arg(r#"["EUR" "GBP" "USD" "XOF"]"#);
    let expected = [r#"["EUR",36]"#, r#"["GBP",5]"#, r#"["USD",17]"#, r#"["XOF",8]"#];
    asked.query(text, call, &Expected::rows(&expected)).await?;

    let text = "Which country is the largest of each continent? (as maps)";
    let call = Call::of(
        "[:find ?continent ?name ?area :keys continent country area
          :where [?k :continent/name ?continent] [?c :country/continent ?k]
                 [?c :country/area ?area] [?c :country/name ?name]
                 (not-join [?k ?area]
                   [?other :country/continent ?k] [?other :country/area ?more] [(> ?more ?area)])]",
    );
    let expected = [
        r#"{":continent":"Africa",":country":"Algeria",":area":2381740}"#,
        r#"{":continent":"Antarctica",":country":"Antarctica",":area":14000000}"#,
        r#"{":continent":"Asia",":country":"China",":area":9596960}"#,
        r#"{":continent":"Europe",":country":"Russia",":area":17100000}"#,
        r#"{":continent":"North America",":country":"Canada",":area":9984670}"#,
        r#"{":continent":"Oceania",":country":"Australia",":area":7686850}"#,
        r#"{":continent":"South America",":country":"Brazil",":area":8511965}"#,
    ];
    asked.query(text, call, &Expected::rows(&expected)).await?;

    let text = "Which countries of South America have no border with Brazil?";
    let call = Call::of(
        r#"[:find [?name ...]
            :where [?k :continent/code "SA"] [?c :country/continent ?k] [?c :country/name ?name]
                   [?brazil :country/code "BR"] [(!= ?c ?brazil)]
                   (not [?c :country/borders ?brazil])]"#,
    );
    let expected = [r#"["Chile"]"#, r#"["Ecuador"]"#, r#"["Falkland Islands"]"#];
    asked.query(text, call, &Expected::rows(&expected)).await?;

    let text =
        "Where does an even number of border crossings lead from Haiti? (two rules that call each other, in circles)";
    let call = Call::of(
        r#"[:find [?name ...] :in $ %
            :where [?haiti :country/code "HT"] (even ?haiti ?c) [?c :country/name ?name]]"#,
    )
    .rules(
        "[[(odd ?a ?b) [?a :country/borders ?b]] [(odd ?a ?b) (even ?a ?m) [?m :country/borders ?b]] \
         [(even ?a ?b) (odd ?a ?m) [?m :country/borders ?b]]]",
    );
    asked.query(text, call, &Expected::rows(&[r#"["Haiti"]"#])).await?;

    let pattern = "[:country/name :country/capital {:country/currency [:currency/code]}
                    {:country/borders [:country/name]} {:country/_borders [:country/code]}]";
    let expected = concat!(
        r#"{":country/name":"Lesotho",":country/capital":"Maseru",":country/currency":{":currency/code":"LSL"},"#,
        r#"":country/borders":[{":country/name":"South Africa"}],":country/_borders":[{":country/code":"ZA"}]}"#
    );
    let text = "Lesotho, what it refers to, and what refers to it (pull)";
    asked.pull(text, pattern, r#"[:country/code "LS"]"#, expected).await
}

/// Answers that differ from today's.
async fn time(asked: &mut Asked) -> Outcome<()> {
    let query = "[:find ?p . :in $ ?code :where [?c :country/code ?code] [?c :country/population ?p]]";
    let china = || Call::of(query).arg(r#""CN""#);
    let text = "How many people live in China?";
    asked.query(text, china(), &Expected::rows(&["[1318683096]"])).await?;
    let text = "And how many was it, as known in the middle of 1977?";
    asked.query(text, china().source("$", "1977-06-30"), &Expected::rows(&["[943455000]"])).await?;

    let text = "Where did the population at least triple from 1972 to 2007? (two points in time in one query)";
    let call = Call::of(
        "[:find ?name ?then ?now :in $ $then
          :where [$then ?c :country/population ?then] [(* 3 ?then) ?triple]
                 [?c :country/population ?now] [(>= ?now ?triple)] [?c :country/name ?name]]",
    )
    .source("$then", "1972-06-01");
    let expected = [
        r#"["Bahrain",230800,708573]"#,
        r#"["Gambia",517101,1688359]"#,
        r#"["Jordan",1613551,6053193]"#,
        r#"["Oman",829050,3204897]"#,
        r#"["Palestinian Territory",1089572,4018332]"#,
        r#"["Saudi Arabia",6472756,27601038]"#,
    ];
    asked.query(text, call, &Expected::rows(&expected)).await?;

    let text = "When did life expectancy fall in Zimbabwe, and from what to what? (retractions in the history)";
    let call = Call::of(
        r#"[:find ?when ?from ?to
            :where [?c :country/code "ZW"]
                   [?c :country/life-expectancy ?from ?tx false] [?c :country/life-expectancy ?to ?tx true]
                   [(< ?to ?from)] [?tx :db/txInstant ?when]]"#,
    )
    .source("$", "history");
    let expected = [
        r#"["1992-01-01T00:00:00.000Z",62.351,60.377]"#,
        r#"["1997-01-01T00:00:00.000Z",60.377,46.809]"#,
        r#"["2002-01-01T00:00:00.000Z",46.809,39.989]"#,
    ];
    asked.query(text, call, &Expected::rows(&expected)).await?;

    let text =
        "Of how many countries is there a figure of the population that was recorded after the middle of 2002? (since)";
    let call = Call::of("[:find (count ?c) . :where [?c :country/population]]").source("$", "since:2002-06-30");
    asked.query(text, call, &Expected::rows(&["[142]"])).await
}

/// Transaction functions, reading one's own writes on the other peer, and what is refused.
async fn change(asked: &mut Asked) -> Outcome<()> {
    let text = "Move a million people from Sudan to South Sudan: a transaction function, and the datoms it came to";
    let transfer = r#"[[:fn/transfer [:country/code "SD"] [:country/code "SS"] :country/population 1000000]]"#;
    let expected = [
        r#"[":country/population",1000000,true]"#,
        r#"[":country/population",41292929,true]"#,
        r#"[":country/population",42292929,false]"#,
    ];
    let committed = asked.transact(text, transfer, &expected).await?;

    let text = "The same, seen by the other peer: before and after, in one query";
    let call = Call::of(
        "[:find ?name ?before ?after :in $before $
          :where [?c :country/population ?after] [(get-else $before ?c :country/population 0) ?before]
                 [(!= ?before ?after)] [?c :country/name ?name]]",
    )
    .source("$before", &(committed.t - 1).to_string())
    .at_least(committed.t);
    let expected = [r#"["South Sudan",0,1000000]"#, r#"["Sudan",42292929,41292929]"#];
    asked.query(text, call, &Expected::rows(&expected)).await?;

    let text = "Compare and swap with a value that is no longer there";
    let cas = r#"[[:db/cas [:country/code "SD"] :country/population 42292929 1]]"#;
    asked.refused(text, cas, "db.error/cas-failed", async |client| client.transact(DATABASE, cas).await).await?;

    let text = "A misspelt attribute";
    let query = "[:find ?name :where [_ :country/nmae ?name]]";
    let call = async |client: &Client| client.query(query).database("$", DATABASE).fetch().await;
    asked.refused(text, query, "db.error/not-an-entity", call).await
}
