"""Methods compared over many images: answers, statistics, figures."""
