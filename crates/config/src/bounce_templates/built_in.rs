//! The built-in templates. Subjects are what mail programs and scripts know; the texts are ours.

use super::{Kind, Template};

/// `obsolete`: From in the form that `header_from_format = obsolete` asks for.
pub(super) fn template(kind: Kind, obsolete: bool) -> Template {
    let (subject, postmaster_subject, text) = match kind {
        Kind::Failure => ("Undelivered Mail Returned to Sender", Some("Postmaster Copy: Undelivered Mail"), FAILURE),
        Kind::Delay => ("Delayed Mail (still being retried)", Some("Postmaster Warning: Delayed Mail"), DELAY),
        Kind::Success => ("Successful Mail Delivery Report", None, SUCCESS),
        Kind::Verify => ("Mail Delivery Status Report", None, VERIFY),
    };
    let from = if obsolete { "MAILER-DAEMON (Mail Delivery System)" } else { "Mail Delivery System <MAILER-DAEMON>" };
    Template {
        kind,
        charset: "us-ascii".to_owned(),
        from: from.to_owned(),
        subject: subject.to_owned(),
        postmaster_subject: postmaster_subject.map(str::to_owned),
        text: text.to_owned(),
    }
}

const FAILURE: &str = "\
The mail server $myhostname could not deliver your message to
the addresses listed below, and will not try again.

Each address is followed by the reason. Your message, or its
headers, comes with this notice. If the reason does not help you,
ask postmaster at $mydomain, and send this notice along.
";

const DELAY: &str = "\
The mail server $myhostname has not been able to deliver your
message for ${{$delay_warning_time_hours} == {1} ? {1 hour} : {$delay_warning_time_hours hours}}.

You need not do anything, and need not send it again: delivery
will be tried for up to ${{$maximal_queue_lifetime_days} == {1} ? {1 day} : {$maximal_queue_lifetime_days days}} in all. If it then still fails, you
will be told.

The addresses concerned are listed below, each with the reason of
the last attempt. Questions: postmaster at $mydomain.
";

const SUCCESS: &str = "\
The mail server $myhostname has delivered or handed over your
message to the addresses listed below, as you asked to be told.

Where it was handed over to another system, that system may still
send you notices of its own.
";

const VERIFY: &str = "\
This is the delivery report that was asked for from the mail
server $myhostname. It lists each address and what became of it.
";
