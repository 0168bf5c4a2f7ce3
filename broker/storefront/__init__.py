"""What this broker sells, for those who look before they buy: browsers and crawlers. Nothing runs here."""
