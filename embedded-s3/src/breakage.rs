//! Carrying out a fault.

use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use s3s::Body;

use crate::answers::{self, Refusal};
use crate::clock;
use crate::fault::{Action, Verdict};
use crate::front::{Answer, Cut, Front};
use crate::shape::{Cutting, Pace, Shaped, boxed};
use crate::wire::Ending;

/// Tells DeleteObjects which keys stay; travels with the request.
#[derive(Clone)]
pub(crate) struct DeniedDeletes {
    pub(crate) key: String,
    pub(crate) code: String,
}

/// Answers `request` as `verdict` demands.
pub(crate) async fn suffer(front: &Front, request: Request<Body>, verdict: Verdict, ending: &Ending) -> Answer {
    match verdict.action {
        Action::Error { status, code, retry_after } => {
            refuse(request, &Refusal { retry_after, ..Refusal::new(status, &code) }).await
        }
        Action::ErrorIn200 { code } => refuse(request, &Refusal::new(200, &code)).await,
        Action::DenyDeletes { key, code } => {
            let mut request = request;
            request.extensions_mut().insert(DeniedDeletes { key, code });
            front.serve(request).await
        }
        Action::Skew { seconds } => skewed(request, seconds).await,
        Action::ResetBeforeBody => Err(reset(ending)),
        Action::ResetAfterBody => {
            answers::drain(request.into_body()).await;
            Err(reset(ending))
        }
        Action::ResetAfterApply => {
            front.serve(request).await?;
            Err(reset(ending))
        }
        Action::ResetInResponse { after } => {
            let cutting = Cutting::After(after, Some(ending.clone()));
            reshape(front.serve(request).await, |body| body.cut(cutting))
        }
        Action::Truncate { after } => reshape(front.serve(request).await, |body| body.cut(Cutting::After(after, None))),
        Action::Corrupt { at } => reshape(front.serve(request).await, |body| body.corrupt(at)),
        Action::Drip { bytes, every_ms } => {
            let pace = Pace { bytes: bytes.max(1), every: Duration::from_millis(every_ms) };
            reshape(front.serve(request).await, |body| body.pace(pace))
        }
        Action::Shorten { after } => shorten(front.serve(request).await?, after).await,
        Action::WrongEtag { etag } => wrong_etag(front.serve(request).await?, &etag).await,
        Action::Hang { max_ms } => {
            tokio::time::sleep(Duration::from_millis(max_ms)).await;
            Err(Cut("the hang is over".to_owned()))
        }
        Action::Delay { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            front.serve(request).await
        }
        Action::Block { after_apply: false, max_ms } => {
            verdict.gate.pass(Duration::from_millis(max_ms)).await;
            front.serve(request).await
        }
        Action::Block { after_apply: true, max_ms } => {
            let answer = front.serve(request).await;
            verdict.gate.pass(Duration::from_millis(max_ms)).await;
            answer
        }
    }
}

async fn refuse(request: Request<Body>, refusal: &Refusal) -> Answer {
    answers::drain(request.into_body()).await;
    Ok(answers::error(refusal))
}

fn reset(ending: &Ending) -> Cut {
    ending.reset();
    Cut("reset on purpose".to_owned())
}

fn reshape(answer: Answer, shape: impl FnOnce(Shaped) -> Shaped) -> Answer {
    answer.map(|response| response.map(|body| boxed(shape(Shaped::new(body)))))
}

async fn skewed(request: Request<Body>, seconds: i64) -> Answer {
    let mut answer = refuse(request, &Refusal::skewed()).await?;
    if let Some(date) = clock::http_date(clock::server_time(seconds)) {
        answer.headers_mut().insert(header::DATE, date);
    }
    Ok(answer)
}

/// Collects the body of `response`, changes it, and announces its new length.
async fn rewrite(response: Response<Body>, change: impl FnOnce(&mut Vec<u8>)) -> Answer {
    let (mut head, body) = response.into_parts();
    let mut bytes = answers::collect(body).await.map_err(|error| Cut(error.to_string()))?;
    change(&mut bytes);
    head.headers.remove(header::TRANSFER_ENCODING);
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Ok(Response::from_parts(head, bytes.into()))
}

async fn shorten(response: Response<Body>, after: u64) -> Answer {
    rewrite(response, |bytes| bytes.truncate(usize::try_from(after).unwrap_or(usize::MAX))).await
}

async fn wrong_etag(mut response: Response<Body>, etag: &str) -> Answer {
    if let (Some(there), Ok(value)) =
        (response.headers_mut().get_mut(header::ETAG), HeaderValue::from_str(&format!("\"{etag}\"")))
    {
        *there = value;
    }
    let is_xml = |kind: &HeaderValue| kind.as_bytes().ends_with(b"xml");
    if !response.headers().get(header::CONTENT_TYPE).is_some_and(is_xml) {
        return Ok(response);
    }
    rewrite(response, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        *bytes = replace_etags(&text, etag).into_bytes();
    })
    .await
}

/// The XML with every ETag element replaced.
fn replace_etags(text: &str, etag: &str) -> String {
    let mut pieces = text.split("<ETag>");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |out, piece| {
        let rest = piece.split_once("</ETag>").map_or("", |(_, rest)| rest);
        format!("{out}<ETag>&quot;{etag}&quot;</ETag>{rest}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_etag_of_an_answer_is_replaced() {
        let text = "<R><ETag>&quot;a&quot;</ETag><X/><ETag>\"b\"</ETag></R>";
        assert_eq!(replace_etags(text, "z"), "<R><ETag>&quot;z&quot;</ETag><X/><ETag>&quot;z&quot;</ETag></R>");
        assert_eq!(replace_etags("<R/>", "z"), "<R/>");
    }
}
