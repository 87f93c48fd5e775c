//! A page by mail: plain SMTP (RFC 5321) to a relay host that takes mail without a password, as on loopback.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::config::MailConfig;

/// Longest answer of the relay host, with all its lines.
const ANSWER_BYTES_MAX: u64 = 8 << 10;

/// Why a mail was not taken. The relay host's side; a retry may help.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The connection.
    #[error("connection to the relay host")]
    Io(#[from] std::io::Error),
    /// It said no.
    #[error("the relay host answered {code} to {to}")]
    Refused {
        /// To which command.
        to: &'static str,
        /// Its code.
        code: u16,
    },
    /// What it said is no SMTP.
    #[error("what answers {0} is no relay host")]
    Malformed(&'static str),
}

/// Sends a page.
///
/// # Errors
/// [`MailError`]; nothing was taken then, or nobody knows.
pub async fn send(mail: &MailConfig, text: &str, incident: u64) -> Result<(), MailError> {
    let stream = TcpStream::connect((mail.relay.host.as_str(), mail.relay.port)).await?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    expect(&mut reader, "the connection", 220).await?;
    let steps: [(&'static str, String, u16); 5] = [
        ("EHLO", "EHLO naru-watch\r\n".to_owned(), 250),
        ("MAIL", format!("MAIL FROM:<{}>\r\n", mail.from), 250),
        ("RCPT", format!("RCPT TO:<{}>\r\n", mail.to), 250),
        ("DATA", "DATA\r\n".to_owned(), 354),
        ("the message", message(mail, text, incident), 250),
    ];
    for (name, command, code) in steps {
        writer.write_all(command.as_bytes()).await?;
        expect(&mut reader, name, code).await?;
    }
    // It has the message; whether it also hears the end of the talk changes nothing.
    if let Err(error) = writer.write_all(b"QUIT\r\n").await {
        tracing::debug!(error = &error as &dyn std::error::Error, "the relay host has gone after taking a mail");
    }
    Ok(())
}

/// The message with its end; a line that begins with a dot gets another (RFC 5321, 4.5.2).
fn message(mail: &MailConfig, text: &str, incident: u64) -> String {
    let line = |text: &str| text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect::<String>();
    let (subject, body) = (line(&format!("[naru] incident {incident}")), line(text));
    let body = if body.starts_with('.') { format!(".{body}") } else { body };
    format!(
        "From: <{}>\r\nTo: <{}>\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{body}\r\n.\r\n",
        mail.from, mail.to
    )
}

async fn expect(
    reader: &mut BufReader<impl AsyncRead + Unpin>,
    to: &'static str,
    wanted: u16,
) -> Result<(), MailError> {
    let mut answer = reader.take(ANSWER_BYTES_MAX);
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).await?;
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok()).ok_or(MailError::Malformed(to))?;
        match line.as_bytes().get(3) {
            // More lines follow.
            Some(b'-') => {}
            _ if code == wanted => return Ok(()),
            _ => return Err(MailError::Refused { to, code }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use tokio::net::TcpListener;

    use super::*;

    /// A relay host that answers as told, and what it was told.
    async fn talk(answers: &'static [&'static str]) -> (Result<(), MailError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = async {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut reader = BufReader::new(reader);
            let mut heard = String::new();
            for answer in answers {
                writer.write_all(answer.as_bytes()).await.unwrap();
                let mut line = String::new();
                while reader.read_line(&mut line).await.unwrap() > 0 {
                    let ends = !answer.starts_with("354") || line.ends_with("\r\n.\r\n");
                    if ends {
                        break;
                    }
                }
                heard.push_str(&line);
            }
            heard
        };
        let mail = MailConfig {
            relay: naru_runtime::config::HostPort { host: "127.0.0.1".to_owned(), port },
            from: "naru@example.com".to_owned(),
            to: "rota@example.com".to_owned(),
        };
        tokio::join!(send(&mail, ".down\r\nBcc: other", 7), host)
    }

    #[tokio::test]
    async fn a_mail_is_told_as_the_protocol_wants_it_or_not_at_all() {
        let well: &[&str] =
            &["220 hi\r\n", "250-a\r\n250 b\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 taken\r\n"];
        let (sent, heard) = talk(well).await;
        sent.unwrap();
        assert!(heard.contains("RCPT TO:<rota@example.com>\r\n"), "{heard}");
        assert!(heard.ends_with("\r\n\r\n..down  Bcc: other\r\n.\r\nQUIT\r\n"), "{heard}");
        let (sent, _) = talk(&["220 hi\r\n", "250 b\r\n", "250 ok\r\n", "550 who\r\n"]).await;
        assert!(matches!(sent, Err(MailError::Refused { to: "RCPT", code: 550 })), "{sent:?}");
        let (sent, _) = talk(&["what\r\n"]).await;
        assert!(matches!(sent, Err(MailError::Malformed(_))), "{sent:?}");
    }
}
