//! `/access/users`, their tokens, and `/access/domains`.

use serde_json::{Map, Value, json};

use super::{Path, SecretHash, Token, User};
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};
use crate::state::State;

/// `GET /access/domains`
pub(crate) fn domains() -> Reply {
    json!([
        {"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"},
        {"realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server"},
    ])
    .into()
}

fn user<'a>(state: &'a State, userid: &str) -> ApiResult<&'a User> {
    state.access.users.get(userid).ok_or_else(|| ApiError::die(format!("no such user ('{userid}')")))
}

fn token<'a>(state: &'a State, userid: &str, name: &str) -> ApiResult<&'a Token> {
    user(state, userid)?
        .tokens
        .get(name)
        .ok_or_else(|| ApiError::die(format!("no such token '{name}' for user '{userid}'")))
}

fn user_row(user: &User) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("enable".to_owned(), u8::from(user.enable).into());
    row.insert("expire".to_owned(), user.expire.into());
    if let Some(comment) = &user.comment {
        row.insert("comment".to_owned(), comment.as_str().into());
    }
    row
}

/// `GET /access/users`
pub(crate) fn user_list(call: &Call) -> Reply {
    let state = call.sim.read();
    let sees_all = state
        .access
        .require_any(call.sim.version, &call.user, &Path::new("/access/groups"), &["User.Modify", "Sys.Audit"])
        .is_ok();
    let own = super::split_token(&call.user).map_or(call.user.as_str(), |(owner, _)| owner);
    let rows: Vec<Value> = state
        .access
        .users
        .iter()
        .filter(|(id, _)| sees_all || id.as_str() == own)
        .map(|(id, user)| {
            let mut row = user_row(user);
            row.insert("userid".to_owned(), id.as_str().into());
            let realm = id.rsplit('@').next().unwrap_or_default();
            row.insert("realm-type".to_owned(), realm.into());
            row.into()
        })
        .collect();
    Value::from(rows).into()
}

/// `GET /access/users/{userid}`
pub(crate) fn user_read(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    let user = user(&state, &call.params.need("userid"))?;
    let mut row = user_row(user);
    row.insert("groups".to_owned(), Value::Array(Vec::new()));
    let tokens: Map<String, Value> =
        user.tokens.iter().map(|(name, token)| (name.clone(), token_info(token))).collect();
    row.insert("tokens".to_owned(), tokens.into());
    Ok(Value::from(row).into())
}

/// `POST /access/users`
pub(crate) async fn user_create(call: &Call) -> ApiResult<Reply> {
    let params = &call.params;
    let userid = params.need("userid");
    call.change_access("create user failed", |state| {
        if state.access.users.contains_key(&userid) {
            return Err(ApiError::die(format!("user '{userid}' already exists")));
        }
        for group in params.list("groups") {
            state
                .access
                .groups
                .get_mut(&group)
                .ok_or_else(|| ApiError::die(format!("no such group '{group}'")))?
                .insert(userid.clone());
        }
        let user = User {
            enable: params.flag("enable").unwrap_or(true),
            expire: params.integer("expire").and_then(|time| time.try_into().ok()).unwrap_or(0),
            comment: params.text("comment"),
            password: params.text("password").map(|password| SecretHash::of(&password)),
            ..User::default()
        };
        state.access.users.insert(userid.clone(), user);
        Ok(Reply::null())
    })
    .await
}

/// `DELETE /access/users/{userid}`
pub(crate) async fn user_delete(call: &Call) -> ApiResult<Reply> {
    let userid = call.params.need("userid");
    call.change_access("delete user failed", |state| {
        user(state, &userid)?;
        state.access.users.remove(&userid);
        let tokens = format!("{userid}!");
        state.access.acl.retain(|entry| entry.ugid != userid && !entry.ugid.starts_with(&tokens));
        Ok(Reply::null())
    })
    .await
}

fn token_info(token: &Token) -> Value {
    let mut info = json!({"expire": token.expire, "privsep": u8::from(token.privsep)});
    if let Some(comment) = &token.comment {
        info["comment"] = comment.as_str().into();
    }
    info
}

/// `GET /access/users/{userid}/token`
pub(crate) fn token_list(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    let rows: Vec<Value> = user(&state, &call.params.need("userid"))?
        .tokens
        .iter()
        .map(|(name, token)| {
            let mut row = token_info(token);
            row["tokenid"] = name.as_str().into();
            row
        })
        .collect();
    Ok(Value::from(rows).into())
}

/// `GET /access/users/{userid}/token/{tokenid}`
pub(crate) fn token_read(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    Ok(token_info(token(&state, &call.params.need("userid"), &call.params.need("tokenid"))?).into())
}

/// `POST /access/users/{userid}/token/{tokenid}`
pub(crate) async fn token_create(call: &Call) -> ApiResult<Reply> {
    let params = &call.params;
    let (userid, name) = (params.need("userid"), params.need("tokenid"));
    {
        let state = call.sim.read();
        if user(&state, &userid)?.tokens.contains_key(&name) {
            return Err(ApiError::param("tokenid", "Token already exists."));
        }
    }
    let secret = call.sim.random_uuid().to_string();
    call.change_access("generating token failed", |state| {
        let created = Token {
            privsep: params.flag("privsep").unwrap_or(true),
            expire: params.integer("expire").and_then(|time| time.try_into().ok()).unwrap_or(0),
            comment: params.text("comment").filter(|comment| !comment.is_empty()),
            secret: SecretHash::of(&secret),
        };
        let owner =
            state.access.users.get_mut(&userid).ok_or_else(|| ApiError::die(format!("no such user ('{userid}')")))?;
        owner.tokens.insert(name.clone(), created);
        Ok(())
    })
    .await?;
    let mut info = Map::new();
    info.insert("privsep".to_owned(), params.text("privsep").map_or(1.into(), Value::from));
    for key in ["expire", "comment"] {
        if let Some(value) = params.text(key).filter(|value| !value.is_empty()) {
            info.insert(key.to_owned(), value.into());
        }
    }
    Ok(json!({"full-tokenid": format!("{userid}!{name}"), "info": info, "value": secret}).into())
}

/// `PUT /access/users/{userid}/token/{tokenid}`
pub(crate) async fn token_update(call: &Call) -> ApiResult<Reply> {
    let params = &call.params;
    let (userid, name) = (params.need("userid"), params.need("tokenid"));
    token(&call.sim.read(), &userid, &name)?;
    call.change_access("updating token info failed", |state| {
        let token = state
            .access
            .users
            .get_mut(&userid)
            .and_then(|user| user.tokens.get_mut(&name))
            .ok_or_else(|| ApiError::die(format!("no such token '{name}' for user '{userid}'")))?;
        if let Some(privsep) = params.flag("privsep") {
            token.privsep = privsep;
        }
        if let Some(expire) = params.integer("expire") {
            token.expire = expire.try_into().unwrap_or(0);
        }
        if let Some(comment) = params.text("comment") {
            token.comment = Some(comment).filter(|comment| !comment.is_empty());
        }
        Ok(Reply::from(token_info(token)))
    })
    .await
}

/// `DELETE /access/users/{userid}/token/{tokenid}`
pub(crate) async fn token_delete(call: &Call) -> ApiResult<Reply> {
    let (userid, name) = (call.params.need("userid"), call.params.need("tokenid"));
    token(&call.sim.read(), &userid, &name)?;
    call.change_access("deleting token failed", |state| {
        if let Some(user) = state.access.users.get_mut(&userid) {
            user.tokens.remove(&name);
        }
        Ok(Reply::null())
    })
    .await
}
