//! What the demo does once everything runs: the first syncs with progress, tokens, a client to ask about, and the text that
//! says what to try. Everything goes the ways that users go: the control socket and HTTP.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::stage::Stage;
use crate::app::Origin;
use crate::app::operate::{Command, Exit, TokenCreate};
use crate::cli::ask::ask_with;
use crate::clock::Clock;
use crate::model::entity::urn;

/// What a visitor needs to know.
struct Handles {
    scim_token: String,
    api_token: String,
    /// A client that is paired with a contact, and a ticket of a colleague.
    client: String,
    ticket: String,
    company: String,
}

/// Runs until the daemon is stopped by SIGINT or SIGTERM. `as_json`: one line for scripts instead of the text.
pub async fn run(as_json: bool) -> anyhow::Result<()> {
    let clock = Clock::system();
    let mut stage = Stage::set(&clock).await?;
    let handles = prepare(&stage, as_json).await;
    match handles {
        Ok(handles) if as_json => println!("{}", line(&stage, &handles)),
        Ok(handles) => println!("{}", text(&stage, &handles)),
        Err(error) => {
            stage.running.abort();
            return Err(error);
        }
    }
    let ended = (&mut stage.running).await.context("the daemon")?;
    drop(stage);
    Ok(ended?)
}

async fn prepare(stage: &Stage, quiet: bool) -> anyhow::Result<Handles> {
    let origin = Origin(vec![stage.config.clone()]);
    for (source, what) in
        [("hq", "staff from the directory (LDAP)"), ("rt", "customers and tickets from the CRM (REST)")]
    {
        sync(&origin, source, what, quiet).await?;
    }
    let scim_token = token(&origin, "identity provider", Some("idp"), &["scim"]).await?;
    let api = ["api", "visibility:read", "credentials:verify", "invitations:write"];
    let api_token = token(&origin, "helpdesk", Some("operator"), &api).await?;
    let (client, ticket, company) = client(stage, &api_token).await?;
    Ok(Handles { scim_token, api_token, client, ticket, company })
}

async fn sync(origin: &Origin, source: &str, what: &str, quiet: bool) -> anyhow::Result<()> {
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(80));
    bar.set_message(format!("reading {what}"));
    let command = Command::Sync { source: source.to_owned(), full: false, expect: None };
    let mut tries = 0;
    let reply = loop {
        let reply = ask_with(origin, command.clone(), |_| bar.tick()).await;
        let reply = reply.map_err(|_| anyhow!("could not ask the daemon"))?;
        tries += 1;
        // The schedule may have begun it already: then this one finds it done.
        if reply.exit != Exit::Failed || tries > 50 {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    bar.finish_and_clear();
    if reply.exit != Exit::Fine {
        bail!("the first sync of {source} did not end well: {} {}", reply.error.unwrap_or_default(), reply.answer);
    }
    if !quiet {
        println!("  {what}: {}", counts(&reply.answer));
    }
    Ok(())
}

/// `24 records, all in step`.
fn counts(report: &Value) -> String {
    let read = report["counts"]["read"].as_u64().unwrap_or_default();
    format!("{read} records read, all in step")
}

async fn token(origin: &Origin, label: &str, source: Option<&str>, scopes: &[&str]) -> anyhow::Result<String> {
    let wish = TokenCreate {
        label: label.to_owned(),
        source: source.map(str::to_owned),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        subject: None,
        days: 1,
    };
    let reply = ask_with(origin, Command::TokenCreate(wish), |_| ()).await.map_err(|_| anyhow!("no answer"))?;
    let text = reply.answer["token"].as_str().map(str::to_owned);
    text.ok_or_else(|| anyhow!("no token: {}", reply.error.unwrap_or_default()))
}

/// A client for Petra Benešová, paired with her contact, who sees the tickets of her company.
async fn client(stage: &Stage, token: &str) -> anyhow::Result<(String, String, String)> {
    let api = Api { http: reqwest::Client::builder().no_proxy().build()?, stage, token };
    let contact = api.find("/api/v1/contacts", "displayName", "Petra Benešová").await?;
    let ticket = api.get("/api/v1/tickets?limit=250").await?;
    let company = api.find("/api/v1/companies", "displayName", "Pekárna Beneš").await?;
    let tickets = ticket["items"].as_array().cloned().unwrap_or_default();
    let number = |ticket: &Value| ticket["attributes"]["number"].as_str().unwrap_or_default().to_owned();
    let colleague = tickets.iter().map(number).find(|n| n == "8").ok_or_else(|| anyhow!("no ticket 8"))?;
    let wish = json!({
        "realm": "client",
        "attributes": {
            "displayName": "Petra Benešová",
            "userName": "petra.benesova",
            "emails": [{"value": "petra.benesova@customer.example", "type": "work", "primary": true}],
            urn::CLIENT: {"companyTickets": true},
        },
        "contacts": [contact["id"]],
    });
    let made = api.post("/api/v1/users", &wish).await?;
    let id = |value: &Value| value["id"].as_str().map(str::to_owned).ok_or_else(|| anyhow!("no id in {value}"));
    Ok((id(&made)?, colleague, id(&company)?))
}

struct Api<'a> {
    http: reqwest::Client,
    stage: &'a Stage,
    token: &'a str,
}

impl Api<'_> {
    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        answer(self.http.get(self.stage.url(path)).bearer_auth(self.token)).await
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        answer(self.http.post(self.stage.url(path)).bearer_auth(self.token).json(body)).await
    }

    async fn find(&self, path: &str, name: &str, value: &str) -> anyhow::Result<Value> {
        let page = self.get(&format!("{path}?limit=250")).await?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        let found = items.into_iter().find(|item| item["attributes"][name] == value);
        found.ok_or_else(|| anyhow!("{path} has no {value}"))
    }
}

async fn answer(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await?;
    let (status, text) = (response.status(), response.text().await?);
    if !status.is_success() {
        bail!("{status}: {text}");
    }
    Ok(serde_json::from_str(&text)?)
}

fn line(stage: &Stage, handles: &Handles) -> Value {
    json!({
        "scim_url": stage.url("/scim/v2"),
        "scim_token": handles.scim_token,
        "api_url": stage.url("/api/v1"),
        "api_token": handles.api_token,
        "ldap_url": format!("ldap://{}", stage.directory),
        "crm_url": format!("http://{}", stage.crm),
        "mail_url": stage.catcher.view.map(|view| format!("http://{view}/")),
        "database": stage.database,
        "config": stage.config,
        "client": handles.client,
        "ticket": handles.ticket,
        "company": handles.company,
    })
}

fn text(stage: &Stage, handles: &Handles) -> String {
    let Handles { scim_token, api_token, client, ticket, company } = handles;
    let (api, scim) = (stage.url("/api/v1"), stage.url("/scim/v2"));
    let mail = stage.catcher.view.map(|view| format!("http://{view}/")).unwrap_or_default();
    let (ldap, crm, config) = (stage.directory, stage.crm, stage.config.display());
    let program = std::env::current_exe().map_or_else(|_| "musterd".to_owned(), |path| path.display().to_string());
    format!(
        r#"
musterd runs, with people from a directory, a CRM and soon from you.
  SCIM        {scim}
  API         {api}
  directory   ldap://{ldap}
  CRM         http://{crm}/REST/2.0
  mail        {mail}   (open it in a browser)
  settings    {config}
  SCIM token  {scim_token}
  API token   {api_token}

Try, in another terminal:

1. Who is Eva, and which source says so?  (She came over LDAP.)
   {program} -c {config} why user eva.dvorakova

2. Push somebody as an identity provider does.
   curl -s -H 'Authorization: Bearer {scim_token}' -H 'Content-Type: application/scim+json' {scim}/Users -d '{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"nora.push","name":{{"givenName":"Nora","familyName":"Push"}},"emails":[{{"value":"nora.push@telco.example","type":"work","primary":true}}]}}'

3. May Petra, a customer's client, see ticket {ticket} of her colleague, and why?  (Both came from the CRM.)
   curl -s -H 'Authorization: Bearer {api_token}' -H 'Content-Type: application/json' {api}/visibility/check -d '{{"user":"{client}","ticket":"{ticket}"}}'

4. Invite somebody of the same company; then read the mail at {mail} and open its link to set a password.
   curl -s -H 'Authorization: Bearer {api_token}' -H 'Content-Type: application/json' {api}/invitations -d '{{"email":"jana.nova@customer.example","given_name":"Jana","family_name":"Nová","language":"cs","role":"Member","company":"{company}"}}'

5. Check the password that was set.
   curl -s -H 'Authorization: Bearer {api_token}' -H 'Content-Type: application/json' {api}/credentials/verify -d '{{"login":"jana.nova@customer.example","password":"YOUR PASSWORD","realm":"client"}}'

Ctrl-C ends everything and leaves nothing behind."#
    )
}
